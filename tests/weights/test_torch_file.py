"""Both torch containers: same content, views of the file, ties, odd layouts, clear errors."""

import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest

from vlp_jax.pickles.safety import Opaque
from vlp_jax.weights.torch_file import read_torch_file

from .torch_writer import (
    STORAGE_NAMES,
    Call,
    Global,
    Storage,
    Tensor,
    legacy_bytes,
    pickle_bytes,
    tensor,
    zip_bytes,
)

WRITERS = {"zip": zip_bytes, "legacy": legacy_bytes}
both = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


def save(folder, data: bytes):
    path = folder / "weights.pth"
    path.write_bytes(data)
    return path


def random_arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng()
    arrays = {}
    for dtype in STORAGE_NAMES:
        shape = tuple(rng.integers(0, 5, rng.integers(0, 4)))
        arrays[f"layer.{dtype}"] = rng.integers(0, 2, shape).astype(dtype)
        arrays[f"layer.{dtype}.odd"] = rng.integers(0, 99, 3).astype(dtype)
    return arrays


@both
def test_every_element_type_is_bit_equal(tmp_path, write):
    arrays = random_arrays()
    path = save(tmp_path, write({name: tensor(array) for name, array in arrays.items()}))
    result = read_torch_file(path)
    assert list(result) == list(arrays)
    for name, array in arrays.items():
        assert result[name].dtype == array.dtype and result[name].shape == array.shape
        assert result[name].tobytes() == array.tobytes()


@both
def test_arrays_are_read_only_views_of_the_file(tmp_path, write):
    path = save(tmp_path, write({"w": tensor(np.arange(6.0))}))
    base = read_torch_file(path)["w"]
    assert not base.flags.writeable and not base.flags.owndata
    while isinstance(base, np.ndarray):
        base = base.base
    assert type(base).__name__ in ("mmap", "memoryview")


@both
def test_strided_shared_and_tied_tensors(tmp_path, write):
    flat = Storage(np.arange(24, dtype=np.float32))
    tree = {
        "whole": Tensor(flat, (4, 6), (6, 1)),
        "transposed": Tensor(flat, (6, 4), (1, 6)),
        "column": Tensor(flat, (4,), (6,), 2),
        "tied": Tensor(flat, (4, 6), (6, 1)),
        "expanded": Tensor(flat, (3, 5), (0, 1), 1),
    }
    result = read_torch_file(save(tmp_path, write(tree)))
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)
    np.testing.assert_array_equal(result["whole"], whole)
    np.testing.assert_array_equal(result["transposed"], whole.T)
    np.testing.assert_array_equal(result["column"], whole[:, 2])
    np.testing.assert_array_equal(result["expanded"], np.tile(np.arange(1.0, 6.0), (3, 1)))
    assert result["tied"] is result["whole"]
    assert np.shares_memory(result["whole"], result["column"])


@both
def test_training_state_beside_the_weights(tmp_path, write):
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (tensor(np.ones(2)), True, {}))
    module_meta = Call(
        Global("collections", "OrderedDict"), (), {"_metadata": {"": {"version": 1}}}
    )
    tree = {
        "model": {"w": parameter},
        "meta": module_meta,
        "scaler": Call(Global("apex.amp", "Scaler"), (), {"scale": 2.0}),
        "epoch": 3,
    }
    result = read_torch_file(save(tmp_path, write(tree)))
    np.testing.assert_array_equal(result["model"]["w"], [1, 1])
    assert result["meta"] == {} and result["epoch"] == 3 and isinstance(result["scaler"], Opaque)


def test_legacy_storage_views(tmp_path):
    root = Storage(np.arange(10, dtype=np.int64), window=("view", 4, 3))
    result = read_torch_file(save(tmp_path, legacy_bytes({"w": Tensor(root, (2,), (1,), 1)})))
    np.testing.assert_array_equal(result["w"], [5, 6])
    with pytest.raises(ValueError, match="needs 4 elements"):
        read_torch_file(save(tmp_path, legacy_bytes({"w": Tensor(root, (3,), (1,), 1)})))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_legacy_pickle_protocols(tmp_path, protocol):
    path = save(tmp_path, legacy_bytes({"w": tensor(np.arange(3))}, protocol))
    np.testing.assert_array_equal(read_torch_file(path)["w"], [0, 1, 2])


@pytest.mark.parametrize("root", ["", "archive/", "a long name with spaces/"])
@pytest.mark.parametrize("byteorder", ["little", "big", None])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_variants(tmp_path, root, byteorder, compression):
    arrays = {"a": np.arange(1000.0), "b": np.array([1, 2], ml_dtypes.bfloat16)}
    tree = {name: tensor(array) for name, array in arrays.items()}
    result = read_torch_file(save(tmp_path, zip_bytes(tree, root, compression, byteorder)))
    for name, array in arrays.items():
        assert result[name].tobytes() == array.tobytes() and result[name].dtype == array.dtype


@pytest.mark.parametrize(
    "claim, shape, strides",
    [
        (10 * 2**30, (4,), (1,)),
        (10 * 2**30, (10 * 2**30,), (1,)),
        (4, (2**31,), (1,)),
        (4, (5,), (1,)),
        (4, (10**9, 4), (0, 1)),
    ],
)
@both
def test_claims_beyond_the_file(tmp_path, write, claim, shape, strides):
    flat = Storage(np.zeros(4, np.float32), claim=claim)
    with pytest.raises(ValueError, match="claim|needs"):
        read_torch_file(save(tmp_path, write({"w": Tensor(flat, shape, strides)})))


@both
def test_wrong_element_types(tmp_path, write):
    flat = Storage(np.zeros(4, np.float32), type_name="QInt8Storage")
    with pytest.raises(ValueError, match="QInt8Storage.*FloatStorage"):
        read_torch_file(save(tmp_path, write({"w": Tensor(flat, (4,), (1,))})))
    wider = Storage(np.zeros(4, np.float32), type_name="DoubleStorage")
    with pytest.raises(ValueError, match="claims 4 elements of float64"):
        read_torch_file(save(tmp_path, write({"w": Tensor(wider, (4,), (1,))})))


def test_zip_bombs_are_not_inflated(tmp_path):
    big = Storage(np.zeros(200 * 2**20, np.uint8))
    data = zip_bytes({"w": Tensor(big, (200 * 2**20,), (1,))}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="inflates far beyond"):
        read_torch_file(save(tmp_path, data))
    target = tmp_path / "bomb.pth"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", b"]" * (65 * 2**20))
    with pytest.raises(ValueError, match="expected at most|inflates"):
        read_torch_file(target)


def test_an_entry_that_inflates_to_something_else(tmp_path):
    data = bytearray(zip_bytes({"w": tensor(np.zeros(999))}, compression=zipfile.ZIP_DEFLATED))
    central = data.index(b"PK\x01\x02")
    data[central + 24 : central + 28] = struct.pack("<I", 2**31)  # claims a longer data.pkl
    with pytest.raises(ValueError, match="inflate"):
        read_torch_file(save(tmp_path, bytes(data)))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "empty"),
        (b"hello world, this is text", "no known checkpoint format"),
        (b"\x80\x02}.", "pickle file; expected a torch file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"sys_info".ljust(257, b"\0") + b"ustar  \0" + b"\0" * 300, "tar archive.*unsupported"),
        (struct.pack("<Q", 2) + b"{}", "safetensors file; expected a torch file"),
        (b"PK\x03\x04 and then nothing", "truncated zip"),
        (zip_bytes({}, extra={"archive/constants.pkl": b""}), "TorchScript"),
        (zip_bytes([tensor(np.zeros(1))]), "holds a list"),
        (zip_bytes(Call(Global("my.models", "Net"), ())), "whole pickled my.models.Net"),
        (zip_bytes({}, byteorder="middle"), "byte order"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_torch_file(save(tmp_path, content))


def test_zip_without_a_pickle(tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match="data.pkl.*a.npy"):
        read_torch_file(tmp_path / "arrays.npz")


def test_missing_storage_entry(tmp_path):
    target = tmp_path / "x.pth"
    with zipfile.ZipFile(target, "w") as archive:
        claim = ("storage", Global("torch", "FloatStorage"), "0", "cpu", 1)
        pickled = pickle_bytes(claim)[:-1] + b"Q."  # the persistent id itself is the object
        archive.writestr("a/data.pkl", pickled)
    with pytest.raises(ValueError, match='no entry "a/data/0"'):
        read_torch_file(target)


@both
def test_every_truncation_is_an_error(tmp_path, write):
    data = write({"w": tensor(np.arange(5.0)), "b": tensor(np.arange(3))})
    for length in range(len(data)):
        with pytest.raises(ValueError):
            read_torch_file(save(tmp_path, data[:length]))


def test_missing_file_names_its_nearest_sibling(tmp_path):
    save(tmp_path, zip_bytes({}))
    with pytest.raises(FileNotFoundError, match='"weights.pth"'):
        read_torch_file(tmp_path / "weigths.pth")
    with pytest.raises(ValueError, match="is a folder; expected a file"):
        read_torch_file(tmp_path)
