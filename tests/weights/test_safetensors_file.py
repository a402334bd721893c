"""Safetensors in and out: bit-equal, atomic, readable by others."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open

from vlp_jax.weights.checkpoint_file import map_file
from vlp_jax.weights.safetensors_file import (
    SAFETENSORS_DTYPES,
    read_safetensors,
    write_directory,
    write_safetensors,
)


def read(path):
    return read_safetensors(map_file(path), path)


def random_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng()
    arrays = {"empty": np.zeros((0, 3), np.float32), "scalar": np.array(2.5)}
    for dtype in SAFETENSORS_DTYPES.values():
        shape = tuple(rng.integers(1, 5, rng.integers(1, 4)))
        arrays[f"w.{dtype}"] = rng.integers(0, 2, shape).astype(dtype)
    return arrays


def test_round_trip_is_bit_equal(tmp_path):
    arrays = random_arrays()
    write_safetensors(tmp_path / "new" / "x.safetensors", arrays, {"made by": "a test"})
    result, metadata = read(tmp_path / "new" / "x.safetensors")
    assert result.keys() == arrays.keys() and metadata == {"made by": "a test"}
    for name, array in arrays.items():
        assert result[name].dtype == array.dtype and result[name].shape == array.shape
        assert result[name].tobytes() == array.tobytes() and not (
            result[name].size and result[name].flags.writeable
        )


def test_layouts_and_ties_are_written_in_full(tmp_path):
    base = np.arange(12.0).reshape(3, 4)
    arrays = {"t": base.T, "tied": base, "again": base, "odd": base[::2, 1::2], "back": base[::-1]}
    arrays["wide"] = np.broadcast_to(np.float32(3), (2, 2))
    write_safetensors(tmp_path / "x", arrays)
    with safe_open(tmp_path / "x", framework="numpy") as file:
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)


@pytest.mark.parametrize(
    "arrays, metadata, message",
    [
        ({}, {}, "no arrays"),
        ({"a": np.array(["x"])}, {}, '"a" is <U1; expected'),
        ({"a": np.array([{}])}, {}, '"a" is object'),
        ({"a": [1.0]}, {}, '"a" is list'),
        ({"a": np.ones(1, ">f4")}, {}, ">f4"),
        ({"a": np.ones(1)}, {"epoch": 3}, 'metadata "epoch" is not text'),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, arrays, metadata, message):
    path = tmp_path / "x.safetensors"
    path.write_text("old")
    with pytest.raises(ValueError, match=message):
        write_safetensors(path, arrays, metadata)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("vlp_jax.weights.safetensors_file.save_file", fail)
    for write in (write_safetensors, write_directory):
        with pytest.raises(OSError, match="disk full"):
            write(tmp_path / "x", {"a": np.ones(1)}, {})
    assert list(tmp_path.iterdir()) == []


def test_files_get_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text("")
    write_safetensors(tmp_path / "x", {"a": np.ones(1)})
    write_directory(tmp_path / "d", {"a": np.ones(1)}, {})
    for path in (tmp_path / "x", tmp_path / "d" / "model.safetensors"):
        assert path.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_an_existing_file_is_replaced(tmp_path):
    for value in (1, 2):
        write_safetensors(tmp_path / "x", {"a": np.full(3, value)})
    assert read(tmp_path / "x")[0]["a"].tolist() == [2, 2, 2]


def test_directory_new_and_existing(tmp_path):
    path = tmp_path / "models" / "bert"
    for value in (1, 2):
        write_directory(path, {"a": np.full(2, value, np.float32)}, {"hidden_size": value})
        assert json.loads((path / "config.json").read_text()) == {"hidden_size": value}
        arrays, metadata = read(path / "model.safetensors")
        assert arrays["a"].tolist() == [value, value] and metadata == {"format": "pt"}
        (path / "vocab.txt").write_text("kept")
    assert sorted(p.name for p in path.iterdir()) == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    assert [p.name for p in path.parent.iterdir()] == ["bert"]
    with pytest.raises(ValueError, match="is a file; expected a directory"):
        write_directory(path / "vocab.txt", {"a": np.ones(1)}, {})


def test_damaged_files_are_value_errors(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"a": np.arange(4), "b": np.ones(2, ml_dtypes.bfloat16)})
    data = path.read_bytes()
    for length in range(8, len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match="damaged or truncated"):
            read(path)
    for header in (b'{"a":{"dtype":"F32","shape":[9999999999],"data_offsets":[0,4]}}', b"{" * 999):
        path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0\0\0")
        with pytest.raises(ValueError, match="damaged"):
            read(path)


def test_unknown_element_types_are_named(tmp_path):
    header = b'{"a":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[0,1]}}'
    path = tmp_path / "x"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0")
    with pytest.raises(ValueError, match='"a" has type F8_E8M0; expected one of F64'):
        read(path)
