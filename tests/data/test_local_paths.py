"""Paths: addresses and values that are no paths are refused before anything is done."""

from pathlib import Path

import pytest

from tests.data.fakes import FakeSource
from vlp_jax.data.local_paths import existing_path, is_address, local_path
from vlp_jax.data.regions import open_regions
from vlp_jax.data.regions.convert import convert
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.array_record_writer import write_array_records

ADDRESSES = ("gs://bucket/x", "s3://bucket/x", "https://a.b/c", "file:///x", "hdfs://x", "pipe:cat")


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_make_no_folders(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls = [
        lambda: local_path(address, "data"),
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
        if name not in ("regions", "joined", "annotated", "emoji_tasks")
    ]
    for call in calls:
        with pytest.raises((ValueError, FileNotFoundError)) as caught:
            call()
        assert "\n" not in str(caught.value)
        if call is not calls[5]:
            assert "is an address" in str(caught.value) or "only files are read" in str(
                caught.value
            )
    assert list(tmp_path.iterdir()) == []


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
