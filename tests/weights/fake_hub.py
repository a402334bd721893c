"""A stand-in for Hugging Face's hub: a folder of models, served to this machine as the hub does."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/(?P<what>revision|tree)/(?P<revision>[^/?]+)")
_FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")
_COMMIT = "a" * 40
GATED = "gated"  # an organisation whose models nobody may read


class _Handler(BaseHTTPRequestHandler):
    """Answers for the models in `folder`, each at one commit, and notes which files were sent."""

    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, sent: list[str], *args):
        self.folder, self.sent = folder, sent
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args) -> None:
        """Says nothing."""

    def _answer(self) -> None:
        asked = _API.match(self.path) or _FILE.match(self.path)
        repo = self.folder / asked["repo"]
        if asked["repo"].startswith(f"{GATED}/"):
            self._send(403, {"X-Error-Code": "GatedRepo"})
        elif not repo.is_dir():
            self._send(404, {"X-Error-Code": "RepoNotFound"})
        elif asked["revision"] not in ("main", _COMMIT):
            self._send(404, {"X-Error-Code": "RevisionNotFound"})
        elif "file" in asked.groupdict():
            self._send_file(repo / asked["file"])
        else:
            files = [path for path in sorted(repo.rglob("*")) if path.is_file()]
            tree = [_entry(path, repo) for path in files]
            about = {"id": asked["repo"], "sha": _COMMIT, "siblings": []}
            content = json.dumps(about if asked["what"] == "revision" else tree)
            self._send(200, {"Content-Type": "application/json"}, content.encode())

    def _send_file(self, path: Path) -> None:
        if not path.is_file():
            self._send(404, {"X-Error-Code": "EntryNotFound"})
            return
        if self.command == "GET":
            self.sent.append(path.name)
        headers = {"ETag": f'"{_digest(path)}"', "X-Repo-Commit": _COMMIT}
        self._send(200, headers, path.read_bytes())

    def _send(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _entry(path: Path, repo: Path) -> dict:
    about = {"type": "file", "size": path.stat().st_size, "oid": _digest(path)}
    return about | {"path": path.relative_to(repo).as_posix()}


def _digest(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


@contextmanager
def fake_hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serves the models in folder/ORG/NAME; gives the address and a list of what is sent."""
    sent: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, folder, sent))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sent
    finally:
        server.shutdown()
        server.server_close()
