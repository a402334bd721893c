"""Tests of a bounded number of open files."""

import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vlp_jax.data import open_files
from vlp_jax.data.open_files import OpenFiles

OPEN = set()
LOCK = threading.Lock()


class Opened:
    """Counts itself until nobody refers to it."""

    def __init__(self, path):
        self.name, self.process = path.read_text(), os.getpid()
        with LOCK:
            OPEN.add(id(self))

    def __del__(self):
        OPEN.discard(id(self))


@pytest.fixture
def paths(tmp_path):
    found = [tmp_path / f"{number}.txt" for number in range(5)]
    for path in found:
        path.write_text(path.name)
    return found


def test_few_are_open_and_many_threads_get_the_right_ones(paths, monkeypatch):
    monkeypatch.setattr(open_files, "_MOST_OPEN", 2)
    files, asked = OpenFiles(Opened, paths), np.random.default_rng().integers(5, size=300).tolist()
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda number: files.get(number).name, asked))
    assert names == [f"{number}.txt" for number in asked] and len(OPEN) <= 2


def test_what_was_asked_for_last_stays(paths, monkeypatch):
    monkeypatch.setattr(open_files, "_MOST_OPEN", 2)
    files = OpenFiles(Opened, paths)
    first, second = files.get(0), files.get(1)
    assert files.get(0) is first
    files.get(2)
    assert files.get(0) is first and files.get(1) is not second


def test_other_processes_open_their_own(paths):
    files = OpenFiles(Opened, paths)
    first = files.get(0)
    copy = pickle.loads(pickle.dumps(files))
    assert copy.get(0) is not first and copy.get(3).name == "3.txt"
    child = os.fork()
    if not child:
        os._exit(files.get(0).process != os.getpid())
    assert os.waitpid(child, 0)[1] == 0


def test_errors_are_those_of_opening(paths):
    paths[4].unlink()
    with pytest.raises(FileNotFoundError, match=r"4\.txt"):
        OpenFiles(Opened, paths).get(4)
