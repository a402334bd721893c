"""Lists of pictures, as arrays and as lines."""

import numpy as np
import pytest

from vlp_jax.data.picture_ids import read_ids


def test_arrays_and_lines(tmp_path):
    np.save(tmp_path / "a.npy", np.array([3, 12]))
    np.save(tmp_path / "b.npy", np.array(["x", "12"]))
    (tmp_path / "c.txt").write_text("7\n 8\n")
    assert read_ids([str(tmp_path / name) for name in ("a.npy", "b.npy", "c.txt")]) == {
        *("3", "12", "x", "7", "8")
    }
    assert read_ids(()) == frozenset()


def test_what_is_no_list(tmp_path):
    np.save(tmp_path / "a.npy", np.array([0.5]))
    with pytest.raises(ValueError, match="a.npy: holds float64, expected whole numbers or texts"):
        read_ids([str(tmp_path / "a.npy")])
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"list of pictures .*b.npy"):
        read_ids([str(tmp_path / "b.npy")])
    with pytest.raises(FileNotFoundError, match="list of pictures"):
        read_ids([str(tmp_path / "c.txt")])
