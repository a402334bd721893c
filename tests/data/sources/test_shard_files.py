"""Tests of reading byte ranges from many files."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vlp_jax.data import open_files
from vlp_jax.data.sources.shard_files import ShardFiles


@pytest.fixture
def contents(tmp_path):
    rng = np.random.default_rng()
    found = {}
    for number in range(5):
        found[tmp_path / f"{number}.bin"] = rng.bytes(200)
    for path, data in found.items():
        path.write_bytes(data)
    return found


def test_many_threads_with_few_open_files_read_the_right_bytes(contents, monkeypatch):
    monkeypatch.setattr(open_files, "_MOST_OPEN", 2)
    files, data = ShardFiles(list(contents)), list(contents.values())
    rng = np.random.default_rng()
    asked = [(int(rng.integers(5)), int(rng.integers(150)), 50) for _ in range(400)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda one: files.read(*one), asked))
    assert read == [data[shard][offset : offset + size] for shard, offset, size in asked]


def test_short_and_missing_files(contents, tmp_path):
    files = ShardFiles([*contents, tmp_path / "none.bin"])
    with pytest.raises(ValueError, match=r"0\.bin ends at byte 200, too early"):
        files.read(0, 190, 20)
    with pytest.raises(FileNotFoundError, match=r"none\.bin"):
        files.read(5, 0, 1)
