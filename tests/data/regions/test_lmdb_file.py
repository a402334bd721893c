"""LMDB files are read like the library reads them, and damaged ones are errors, not crashes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.regions.pictures import write_lmdb
from vlp_jax.data.regions.lmdb_file import LmdbFile

lmdb = pytest.importorskip("lmdb")


def grown(folder: Path, seed: int, count: int) -> dict[str, bytes]:
    """Writes and deletes entries in several transactions; returns those that are left."""
    rng = np.random.default_rng(seed)
    left: dict[str, bytes] = {}
    with lmdb.open(str(folder), map_size=2**26) as environment:
        for _ in range(3):
            with environment.begin(write=True) as transaction:
                for key in rng.choice(list(left), len(left) // 3, replace=False) if left else ():
                    transaction.delete(key.encode())
                    del left[str(key)]
                for number in rng.integers(0, 10 * count, count):
                    key = f"{number:x}" * int(rng.integers(1, 8))
                    value = rng.bytes(int(rng.choice([0, 1, 90, 2000, 2100, 5000, 20_000])))
                    transaction.put(key.encode(), value)
                    left[key] = value
    return left


@given(st.integers(0, 2**31), st.integers(1, 300))
def test_entries_are_those_of_the_library(tmp_path_factory, seed, count):
    folder = tmp_path_factory.mktemp("db")
    expected = grown(folder, seed, count)
    for path in (folder, folder / "data.mdb"):
        file = pickle.loads(pickle.dumps(LmdbFile(path)))
        assert file.keys(b"") == sorted(expected)
        for key in expected:
            assert file.read(key) == expected[key]


def test_a_file_that_was_cut_short_says_so(tmp_path):
    values = {f"{k:05d}": bytes([k]) * 9000 for k in range(40)}
    data = (write_lmdb(tmp_path / "db", values) / "data.mdb").read_bytes()
    path = tmp_path / "cut.mdb"
    for size in (len(data) - 4096, len(data) // 2, 3 * 4096, 8192, 5000, 4096, 100, 0):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match="cut.mdb: the LMDB can't be read: it is ") as caught:
            LmdbFile(path)
        if size > 8192:
            assert f"cut short: it has {size} bytes" in str(caught.value), size


def test_other_kinds_of_lmdb_are_refused(tmp_path):
    with lmdb.open(str(tmp_path / "named"), map_size=2**24, max_dbs=2) as environment:
        environment.open_db(b"inside")
    with pytest.raises(ValueError, match="page 2 has a wrong entry"):
        LmdbFile(tmp_path / "named")
    (tmp_path / "text.mdb").write_bytes(b"no database " * 900)
    with pytest.raises(ValueError, match="text.mdb: .*it is not an LMDB file"):
        LmdbFile(tmp_path / "text.mdb")


def test_a_file_that_shrinks_later(tmp_path):
    folder = write_lmdb(tmp_path / "db", {"a": bytes(9000)})
    file = LmdbFile(folder)
    with (folder / "data.mdb").open("r+b") as stream:
        stream.truncate(8192)
    with pytest.raises(ValueError, match="has become shorter since it was opened"):
        file.read("a")
