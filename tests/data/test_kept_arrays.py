"""Arrays made from a file: once, again when it changes, and whatever the kept file's state."""

import os
from pathlib import Path

import numpy as np
import pytest

from vlp_jax.data.kept_arrays import is_kept, keep_arrays


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "a.tsv"
    file.write_text("first")
    return file


class Builder:
    """Counts its calls and returns the file's bytes."""

    def __init__(self):
        self.calls = 0

    def __call__(self, file):
        self.calls += 1
        return {"content": np.frombuffer(file.read_bytes(), np.uint8)}


def content(arrays):
    return arrays["content"].tobytes().decode()


def test_made_once_and_again_when_the_file_changes(file):
    build = Builder()
    assert [content(keep_arrays(file, "x", build)) for _ in range(3)] == ["first"] * 3
    assert build.calls == 1 and file.with_name("a.tsv.x.npz").is_file()
    file.write_text("other")  # as long as before
    os.utime(file, ns=(1, 1))
    assert content(keep_arrays(file, "x", build)) == "other" and build.calls == 2
    keep_arrays(file, "y", build)
    assert build.calls == 3  # another name is another thing
    assert sorted(p.name for p in file.parent.iterdir()) == ["a.tsv", "a.tsv.x.npz", "a.tsv.y.npz"]


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_kept_file_is_made_anew(file, damage):
    build = Builder()
    keep_arrays(file, "x", build)
    kept = file.with_name("a.tsv.x.npz")
    kept.write_bytes(kept.read_bytes()[:-9] if damage is None else damage)
    for _ in range(2):
        assert content(keep_arrays(file, "x", build)) == "first"
    assert build.calls == 2


def test_another_folder_where_it_can_not_be_written(file, tmp_path, monkeypatch):
    def refuse(place, arrays):
        if place.parent == file.parent:
            raise PermissionError("read-only")
        return save(place, arrays)

    from vlp_jax.data import kept_arrays

    save = kept_arrays._save
    monkeypatch.setattr(kept_arrays, "_save", refuse)
    build = Builder()
    for _ in range(2):
        keep_arrays(file, "x", build)
    assert build.calls == 1 and list(file.parent.iterdir()) == [file]
    assert len(list((tmp_path / "cache" / "vlp_jax" / "x").iterdir())) == 1


def test_nowhere_to_write_is_no_error(file, monkeypatch, caplog):
    def refuse(place, arrays):
        raise PermissionError("read-only")

    monkeypatch.setattr("vlp_jax.data.kept_arrays._save", refuse)
    build = Builder()
    assert content(keep_arrays(file, "x", build)) == content(keep_arrays(file, "x", build))
    assert build.calls == 2 and "is made at every start" in caplog.text


def test_errors_keep_nothing(file):
    def fail(file):
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"):
        keep_arrays(file, "x", fail)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("name", ["a.tsv.lines.npz", "0.tar.tar_index.npz", "0.tar.tar_index2.npz"])
def test_what_is_kept_is_known_by_its_name(name):
    assert is_kept(Path("x", name)) and is_kept(Path("x", f"{name}.{'0f' * 16}.tmp"))
    for other in (name[:-4], f"{name}.gz", "lines.npz", "a.npz"):
        assert not is_kept(Path("x", other))
