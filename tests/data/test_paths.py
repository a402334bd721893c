"""Paths: addresses and values that are no paths are refused before anything is done."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

from tests.data.fakes import FakeSource
from vlp_jax.data.answer_lists import read_answers
from vlp_jax.data.buckets import bucket_path, is_bucket
from vlp_jax.data.images import decode
from vlp_jax.data.json_text import read_json, read_object
from vlp_jax.data.paths import (
    any_path,
    existing_file,
    existing_path,
    is_address,
    local_path,
    path_to_write,
    read_file,
    run_path,
)
from vlp_jax.data.regions import open_regions
from vlp_jax.data.regions.convert import convert
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.array_record_writer import write_array_records

ADDRESSES = ("https://a.b/c", "file:///x", "hdfs://x", "pipe:cat")


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_make_no_folders(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = [
        lambda: local_path(address, "data"),
        lambda: any_path(address, "data"),
        lambda: existing_path(Path(address), "data"),
        lambda: write_array_records(FakeSource(), address, "train"),
        lambda: convert(None, Path(address)),
        lambda: open_regions("lxmert_tsv", address),
        lambda: open_regions("npz", f"a, {address}"),
        lambda: SOURCES["regions"](path=address, features="x", store="npz"),
        lambda: SOURCES["annotated"](path=f"{address}{{split}}", form="gqa", images="."),
    ]
    calls += [
        lambda name=name: SOURCES[name](path=address)
        for name in SOURCES
        if name not in ("regions", "joined", "annotated", "emoji_tasks", "found_regions")
    ]
    for call in calls:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            call()
        assert "\n" not in str(caught.value)
        if call is not calls[6]:
            assert "is an address" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["gs://bucket/x", "s3://bucket/x"])
def test_what_needs_a_disk_refuses_buckets(address):
    calls = [
        lambda: existing_path(address, "data"),
        lambda: path_to_write(address, "data"),
        lambda: open_regions("lxmert_tsv", address),
        lambda: write_array_records(FakeSource(), address, "train"),
        *(lambda name=name: SOURCES[name](path=address) for name in ("tfds", "array_records")),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="is an address; only local files are read and writte"):
            call()


@pytest.mark.parametrize("value", [3, None, b"x", "", ["a"], "a\0b", 1.5, True])
def test_values_that_are_no_paths(value):
    with pytest.raises(ValueError, match="data is .* expected a path, as text"):
        existing_path(value, "data")


def test_names_that_no_disk_takes_and_homes(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="data x+….*too long"):
        existing_path("x" * 5000, "data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/a", "data") == tmp_path / "a"
    assert not any(map(is_address, ("a/b", "/a:b", "C:/a", "a:b", "./gs:/x")))


READERS = {
    "a file": lambda path: read_file(path, "text"),
    "a JSON object": read_object,
    "JSON": read_json,
    "answers": read_answers,
    "a picture": decode,
    "JSON entries": lambda path: SOURCES["json"](path=str(path)),
    "shards": lambda path: SOURCES["webdataset"](path=str(path)),
    "regions": lambda path: open_regions("lxmert_tsv", str(path)),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_pipe_is_refused_and_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "pipe.tar")
    with pytest.raises(ValueError, match="pipe.tar.*it is a pipe, a socket or a device; only"):
        read(tmp_path / "pipe.tar")


@pytest.mark.parametrize(
    "name", sorted(READERS.keys() - {"shards"})
)  # of which a folder may be full
def test_a_folder_in_the_place_of_a_file_is_named(name, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder.* is a folder|folder.*Is a directory"):
        READERS[name](tmp_path / "folder")


def test_a_link_to_nothing_is_told_from_a_missing_file(tmp_path):
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(FileNotFoundError, match="link does not exist. It is a link to gone, whic"):
        existing_file(tmp_path / "link", "data")
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"b does not exist. .*file is a file\.$"):
        existing_path(tmp_path / "file" / "b", "data")


def test_where_nothing_can_be_written_is_known_before(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("gone")
    assert path_to_write(tmp_path / "a" / "b", "--out") == tmp_path / "a" / "b"
    assert list(tmp_path.glob("a")) == []
    for path, blamed in (("file/a/b", "file"), ("link", "link"), ("link/a", "link")):
        message = f"--out {tmp_path / path} cannot be written: {tmp_path / blamed} is no folder"
        with pytest.raises(ValueError, match=re.escape(message)):
            path_to_write(tmp_path / path, "--out")


@pytest.mark.parametrize(
    ("kind", "package", "extra"), [("gs", "gcsfs", "gcs"), ("s3", "s3fs", "s3")]
)
def test_the_package_that_a_bucket_needs_is_named(monkeypatch, kind, package, extra):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = f'data "{kind}://b/x" needs the package "{package}": pip install "vlp_jax[{extra}]"'
    for read in (any_path, bucket_path, lambda *given: existing_path(*given, buckets=True)):
        with pytest.raises(ValueError, match=re.escape(message)):
            read(f"{kind}://b/x", "data")


def test_runs_are_kept_on_disks_and_in_google_s_buckets(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    message = 'workdir "s3://b/run": checkpoints are kept in local folders and in gs:// buckets'
    with pytest.raises(ValueError, match=re.escape(message)):
        run_path("s3://b/run", "workdir")
    assert str(run_path("gs://b/run", "workdir")) == "gs://b/run"
    assert not any(map(is_bucket, ("gs:/b", "/gs://b", "hdfs://b", Path("gs://b"), "gsx://b")))
