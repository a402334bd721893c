"""The torch allow-list: numpy values, containers, namespaces, storages and tensor layouts."""

import argparse
import io
import pickle
from collections import OrderedDict, defaultdict

import ml_dtypes
import numpy as np
import pytest

from vlp_jax.pickles.safety import Opaque
from vlp_jax.weights.torch_unpickler import (
    Storage,
    StorageClaim,
    StorageType,
    TensorBuilder,
    parse_storage_id,
    unpickle,
)

from .torch_writer import Call, Global, pickle_bytes

FLOAT = StorageType("FloatStorage", np.dtype(np.float32))


def read(data: bytes):
    return unpickle(io.BytesIO(data), lambda claim: pytest.fail("no storage"), TensorBuilder(0))


def read_value(value, protocol: int = 2):
    return read(pickle_bytes(value, protocol))


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "dtype", ["<f4", ">f4", "f8", "f2", "i8", ">i2", "u1", "?", "c8", "c16", "U5", "S3"]
)
def test_numpy_arrays_and_scalars(protocol, dtype):
    rng = np.random.default_rng()
    array = rng.integers(0, 2, (2, 3, 4)).astype(dtype)
    for case in (array, np.asfortranarray(array), array[:, ::2], array[:0], array[0, 0, 0]):
        result = read(pickle.dumps(case, protocol))
        assert result.dtype == case.dtype.newbyteorder("=") and result.shape == case.shape
        np.testing.assert_array_equal(result, case)


def test_both_spellings_of_numpy_core():
    for core in ("numpy.core", "numpy._core"):
        dtype = Call(
            Global("numpy", "dtype"), ("f4", False, True), (3, "<", None, None, None, -1, -1, 0)
        )
        scalar = Call(Global(f"{core}.multiarray", "scalar"), (dtype, b"\0\0\x80\x3f"))
        assert read_value(scalar) == np.float32(1)


def test_numpy_objects_stay_opaque():
    result = read(pickle.dumps({"a": np.array([{}, "x"], object), "b": 1}, 4))
    assert result["b"] == 1 and result["a"].dtype == object and isinstance(result["a"][0], Opaque)


@pytest.mark.parametrize("protocol", range(5))
def test_containers(protocol):
    counts = defaultdict(int, {"x": 1})
    tree = [OrderedDict([("b", 1), ("a", 2)]), {1, 2}, frozenset("ab"), 3 + 4j, b"\xff\0", counts]
    result = read(pickle.dumps(tree, protocol))
    assert result == tree and list(result[0]) == ["b", "a"] and type(result[0]) is dict


def test_namespace_is_filled_and_its_methods_are_not():
    result = read(pickle.dumps(argparse.Namespace(lr=0.1, layers=[1, 2])))
    assert isinstance(result, argparse.Namespace) and vars(result) == {"lr": 0.1, "layers": [1, 2]}


def test_torch_names():
    values = {
        "dtype": Global("torch", "bfloat16"),
        "device": Call(Global("torch", "device"), ("cuda", 1)),
        "size": Call(Global("torch", "Size"), ((2, 3),)),
        "unknown": Global("torch", "strided"),
    }
    result = read_value(values)
    assert result["dtype"] == ml_dtypes.bfloat16 and result["device"] == "cuda:1"
    assert result["size"] == (2, 3) and isinstance(result["unknown"], Opaque)


def test_storage_ids():
    claim = parse_storage_id(("storage", FLOAT, 7, "cuda:0", 10, ("9", 2, 3)))
    assert claim == StorageClaim("7", np.dtype(np.float32), 10, (2, 3))


@pytest.mark.parametrize(
    "claim, message",
    [
        ("storage", "not a torch storage"),
        (("storage", Opaque("torch", "QInt8Storage"), "0", "cpu", 1), "QInt8Storage.*FloatStorage"),
        (("storage", FLOAT, "0", "cpu", -1), "negative"),
        (("storage", FLOAT, "0", "cpu", True), "length"),
        (("storage", FLOAT, None, "cpu", 1), "without a key"),
        (("storage", FLOAT, "0", "cpu", 10, ("9", 8, 3)), "ends at 11 of 10"),
        (("storage", FLOAT, "0", "cpu", 10, ("9", -1, 3)), "bad offset"),
        (("storage", FLOAT, "0", "cpu", 10, 5), "without offset"),
    ],
)
def test_bad_storage_ids(claim, message):
    with pytest.raises(ValueError, match=message):
        parse_storage_id(claim)


def storage(count: int = 12) -> Storage:
    data = np.arange(count, dtype=np.float32)
    data.flags.writeable = False
    return Storage("0", data.view(np.uint8), data.dtype)


def test_views_and_ties():
    builder, flat = TensorBuilder(1000), storage()
    whole = builder.rebuild(flat, 0, (3, 4), (4, 1), False, {})
    np.testing.assert_array_equal(whole, np.arange(12).reshape(3, 4))
    np.testing.assert_array_equal(builder.rebuild(flat, 1, (4, 2), (1, 4)), whole.T[:, :2] + 1)
    assert builder.rebuild(flat, 0, (3, 4), (4, 1)) is whole
    assert builder.rebuild(flat, 5, (), ()) == 5 and not whole.flags.writeable
    assert builder.rebuild(flat, 99, (0, 4), (4, 1)).shape == (0, 4)
    assert np.shares_memory(whole, flat.data)


def test_tensors_with_their_dtype_beside_them():
    raw = np.array([1, -2, 3], ml_dtypes.bfloat16)
    flat = Storage("0", raw.view(np.uint8), np.dtype(np.uint8))
    result = TensorBuilder(100).rebuild_v3(flat, 1, (2,), (1,), False, {}, raw.dtype, None)
    assert result.dtype == ml_dtypes.bfloat16 and result.tolist() == [-2, 3]


@pytest.mark.parametrize(
    "layout, message",
    [
        ((0, (13,), (1,)), "needs 13 elements"),
        ((1, (12,), (1,)), "has 12"),
        ((0, (2, 2), (1, 11)), "needs 13"),
        ((0, (10**10,), (1,)), "needs 10000000000"),
        ((0, (2**61, 2**61), (1, 1)), "elements"),
        ((0, (10**9,), (0,)), "beyond the file"),
        ((-1, (2,), (1,)), "whole numbers"),
        ((0, (2,), (-1,)), "whole numbers"),
        ((0, (2.0,), (1,)), "whole numbers"),
        ((0, (2**70,), (1,)), "whole numbers"),
        ((0, (2,), (1, 1)), "strides"),
        ((0, (1,) * 64, (1,) * 64), "64 sizes"),
        ((0, None, (1,)), "shape"),
    ],
)
def test_layouts_outside_the_storage(layout, message):
    with pytest.raises(ValueError, match=message):
        TensorBuilder(10_000).rebuild(storage(), *layout)


def test_foreign_byte_order():
    for dtype in (np.float32, ml_dtypes.bfloat16, np.complex64, np.int64, np.bool_):
        values = np.array([0, 1, 1], dtype)
        flat = Storage("0", values.byteswap().view(np.uint8), values.dtype, swapped=True)
        result = TensorBuilder(100).rebuild(flat, 1, (2,), (1,))
        assert result.tobytes() == values[1:].tobytes()
        assert TensorBuilder(100).rebuild(flat, 1, (), ()).shape == ()


@pytest.mark.parametrize(
    "value",
    [
        Call(Global("torch._utils", "_rebuild_tensor_v2"), (1, 0, (2,), (1,))),
        Call(Global("torch._utils", "_rebuild_tensor_v2"), ()),
        Call(Global("torch._utils", "_rebuild_tensor_v3"), (1,) * 7),
        Call(Global("builtins", "set"), (5,)),
        Call(Global("builtins", "set"), ([[1]],)),
        Call(Global("collections", "OrderedDict"), ([1, 2],)),
        Call(Global("_codecs", "encode"), ("abc", "punycode")),
        Call(Global("numpy.core.multiarray", "_reconstruct"), (), (1, (2,), None, False, b"")),
    ],
)
def test_allowed_functions_check_their_arguments(value):
    with pytest.raises(ValueError):
        read_value(value)
