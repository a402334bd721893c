"""A Cloud Storage in memory: of its JSON interface what gcsfs, TensorStore and Orbax ask for."""

import contextlib
import itertools
import json
import re
import sys
import threading
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o/?")
_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_REWRITE = re.compile(r"/storage/v1/b/([^/]+)/o/([^/]+)/rewriteTo/b/([^/]+)/o/([^/]+)")


class FakeCloudStorage:
    """Buckets: name → object's name → (generation, content). `forbidden` are refused with 403."""

    def __init__(self, *buckets: str):
        self.buckets: dict[str, dict[str, tuple[int, bytes]]] = {name: {} for name in buckets}
        self.forbidden: set[str] = set()
        self.uploads: dict[str, tuple[str, str, bytearray]] = {}
        self.generations = itertools.count(1)
        self.lock = threading.Lock()

    def put(self, bucket: str, name: str, content: bytes) -> dict[str, Any]:
        """Keeps an object, and returns what is said of it."""
        self.buckets[bucket][name] = next(self.generations), content
        return self.about(bucket, name)

    def about(self, bucket: str, name: str) -> dict[str, Any]:
        """Returns what is said of an object."""
        generation, content = self.buckets[bucket][name]
        when = f"2026-01-01T00:00:{generation % 60:02d}.000Z"
        return {
            "kind": "storage#object",
            "bucket": bucket,
            "name": name,
            "size": str(len(content)),
            "generation": str(generation),
            "metageneration": "1",
            "updated": when,
            "timeCreated": when,
        }

    def listing(self, bucket: str, asked: dict[str, str]) -> dict[str, Any]:
        """Returns the objects whose names begin with a prefix, and folders up to a delimiter."""
        prefix, delimiter = asked.get("prefix", ""), asked.get("delimiter")
        names = [name for name in sorted(self.buckets[bucket]) if name.startswith(prefix)]
        names = [name for name in names if name >= asked.get("startOffset", "")]
        if "endOffset" in asked:
            names = [name for name in names if name < asked["endOffset"]]
        deeper = lambda name: bool(delimiter) and delimiter in name[len(prefix) :]
        folders = {prefix + n[len(prefix) :].split(delimiter)[0] + "/" for n in names if deeper(n)}
        items = [self.about(bucket, name) for name in names if not deeper(name)]
        return {"kind": "storage#objects", "items": items, "prefixes": sorted(folders)}


@contextlib.contextmanager
def serve(store: FakeCloudStorage) -> Iterator[str]:
    """Serves it on a free port of this machine; yields the address."""
    handler = type("Handler", (_Handler,), {"store": store})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def environment(address: str) -> dict[str, str]:
    """Returns the variables by which clients find the store, and ask nobody else for rights."""
    return {
        "STORAGE_EMULATOR_HOST": address,
        "TENSORSTORE_GCS_HTTP_URL": address,
        "FSSPEC_GCS_TOKEN": "anon",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }


class _Server(ThreadingHTTPServer):
    def handle_error(self, *told: Any) -> None:
        """gcsfs asks two things at once and hangs up on the slower answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*told)


class _Handler(BaseHTTPRequestHandler):
    store: FakeCloudStorage
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # which would wait 40 ms between head and body of an answer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, act) -> None:
        parts = urlsplit(self.path)
        self.place, self.asked = parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        bucket = next(iter(re.findall(r"/b/([^/]+)", self.place)), "")
        with self.store.lock:
            if bucket in self.store.forbidden:
                return self._error(HTTPStatus.FORBIDDEN, "does not have storage.objects access")
            try:
                act()
            except KeyError:
                self._error(HTTPStatus.NOT_FOUND, "not found")

    def _get(self) -> None:
        if match := _OBJECT.fullmatch(self.place):
            bucket, name = match[1], unquote(match[2])
            if self.asked.get("alt") == "media":
                return self._content(*self.store.buckets[bucket][name])
            return self._json(self.store.about(bucket, name))
        if match := _LIST.fullmatch(self.place):
            return self._json(self.store.listing(match[1], self.asked))
        bucket = _BUCKET.fullmatch(self.place)[1]
        self.store.buckets[bucket]
        self._json({"kind": "storage#bucket", "name": bucket, "id": bucket})

    def _content(self, generation: int, content: bytes) -> None:
        known = {"x-goog-generation": str(generation), "x-goog-stored-content-length": len(content)}
        if self.asked.get("ifGenerationNotMatch") == str(generation):
            return self._send(HTTPStatus.NOT_MODIFIED, b"", known)
        if self.asked.get("ifGenerationMatch", str(generation)) != str(generation):
            return self._error(HTTPStatus.PRECONDITION_FAILED, "another generation")
        if not (span := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))):
            return self._send(HTTPStatus.OK, content, known)
        first = int(span[1]) if span[1] else max(len(content) - int(span[2]), 0)
        last = min(int(span[2]), len(content) - 1) if span[1] and span[2] else len(content) - 1
        if first >= len(content):
            return self._error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "beyond the end")
        known["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(HTTPStatus.PARTIAL_CONTENT, content[first : last + 1], known)

    def _post(self) -> None:
        if match := _REWRITE.fullmatch(self.place):
            source, name, target, new = map(unquote, match.groups())
            about = self.store.put(target, new, self.store.buckets[source][name][1])
            return self._json({"done": True, "resource": about})
        if "upload_id" in self.asked:
            return self._chunk()
        bucket = _UPLOAD.fullmatch(self.place)[1]
        kind = self.asked["uploadType"]
        if kind == "resumable":
            self.store.buckets[bucket]
            key = f"upload{next(self.store.generations)}"
            self.store.uploads[key] = bucket, self.asked["name"], bytearray()
            host = f"http://{self.headers['Host']}"
            return self._json({}, {"Location": f"{host}{self.place}?upload_id={key}"})
        if kind == "multipart":
            name, content = self._parts()
        else:
            name, content = self.asked["name"], self.body
        self._put_new(bucket, name, content)

    def _parts(self) -> tuple[str, bytes]:
        said = Message()
        said["Content-Type"] = self.headers["Content-Type"]
        boundary = b"--" + said.get_param("boundary").encode()
        about, content = self.body.split(boundary)[1:3]
        end_of_head = content.index(b"\n\n") + 2
        name = json.loads(about[about.index(b"{") : about.rindex(b"}") + 1])["name"]
        return name, content[end_of_head:].removesuffix(b"\n")

    def _put_new(self, bucket: str, name: str, content: bytes) -> None:
        there = str(self.store.buckets[bucket].get(name, (0,))[0])
        if self.asked.get("ifGenerationMatch", there) != there:
            return self._error(HTTPStatus.PRECONDITION_FAILED, "another generation")
        self._json(self.store.put(bucket, name, content))

    def _chunk(self) -> None:
        """A part of a resumable upload; the last one says how long the whole is."""
        bucket, name, content = self.store.uploads[self.asked["upload_id"]]
        content += self.body
        if self.headers["Content-Range"].endswith("/*"):
            said = {"Range": f"bytes=0-{len(content) - 1}"}
            return self._send(HTTPStatus.PERMANENT_REDIRECT, b"", said)
        self._put_new(bucket, name, bytes(content))

    def _delete(self) -> None:
        match = _OBJECT.fullmatch(self.place)
        name = unquote(match[2])
        there = str(self.store.buckets[match[1]][name][0])
        if self.asked.get("ifGenerationMatch", there) != there:
            return self._error(HTTPStatus.PRECONDITION_FAILED, "another generation")
        del self.store.buckets[match[1]][name]
        self._send(HTTPStatus.NO_CONTENT, b"")

    def _json(self, values: Any, headers: dict | None = None) -> None:
        content = json.dumps(values).encode()
        self._send(HTTPStatus.OK, content, {"Content-Type": "application/json"} | (headers or {}))

    def _error(self, status: HTTPStatus, message: str) -> None:
        content = json.dumps({"error": {"code": status.value, "message": message}}).encode()
        self._send(status, content, {"Content-Type": "application/json"})

    def _send(self, status: HTTPStatus, content: bytes, headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, str(value))
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.wfile.write(content)
