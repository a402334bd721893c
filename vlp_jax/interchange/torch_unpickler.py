"""The allow-list of torch checkpoints: tensors, numpy values and plain containers, as numpy."""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from vlp_jax.interchange.pickle_machine import PickleMachine
from vlp_jax.interchange.pickle_safety import (
    Constructor,
    Opaque,
    check_key,
    refuse_code_runners,
)

MAX_DIMENSIONS = 32

TORCH_DTYPES: dict[str, np.dtype] = {
    name: np.dtype(scalar)
    for name, scalar in {
        "float64": np.float64, "double": np.float64, "float32": np.float32, "float": np.float32,
        "float16": np.float16, "half": np.float16, "bfloat16": ml_dtypes.bfloat16,
        "int64": np.int64, "long": np.int64, "int32": np.int32, "int": np.int32,
        "int16": np.int16, "short": np.int16, "int8": np.int8, "uint8": np.uint8,
        "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64, "bool": np.bool_,
        "complex64": np.complex64, "cfloat": np.complex64, "complex128": np.complex128,
        "cdouble": np.complex128, "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
        "float8_e5m2": ml_dtypes.float8_e5m2,
    }.items()
}  # fmt: skip

STORAGE_DTYPES: dict[str, np.dtype] = {
    name: TORCH_DTYPES[dtype]
    for name, dtype in {
        "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16",
        "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
        "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
        "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
        "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
        "_UntypedStorage": "uint8",
    }.items()
}  # fmt: skip

NUMPY_CODE = re.compile(r"[?bBhHiIlLqQefdFD]|[biufcSU]\d{1,6}")


@dataclass(frozen=True)
class StorageType:
    """The class of a torch storage: what its elements are."""

    name: str
    dtype: np.dtype


@dataclass(frozen=True)
class StorageClaim:
    """What a pickle says about one storage: its key, element type, length and optional window."""

    key: str
    dtype: np.dtype
    count: int
    window: tuple[int, int] | None = None


@dataclass(frozen=True)
class Storage:
    """A storage's bytes (read-only uint8 [N]) as far as the pickle may see them."""

    key: str
    data: np.ndarray
    dtype: np.dtype
    swapped: bool = False


class PickledArray(np.ndarray):
    """A numpy array whose content is inside the pickle; empty until BUILD fills it."""


class PickledDtype:
    """A numpy dtype under construction: its code, then its byte order."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


def parse_storage_id(claim: Any) -> StorageClaim:
    """Checks a torch persistent id ("storage", type, key, location, count[, window])."""
    if not isinstance(claim, tuple) or len(claim) not in (5, 6) or claim[0] != "storage":
        raise ValueError("a persistent id is not a torch storage")
    _, kind, key, _, count, *rest = claim
    if not isinstance(kind, StorageType):
        raise ValueError(
            f"a tensor is stored as {kind!r:.120}; expected one of {', '.join(STORAGE_DTYPES)}"
        )
    if isinstance(key, int):
        key = str(key)
    if not isinstance(key, str) or type(count) is not int or count < 0:
        raise ValueError("a torch storage without a key or with a negative length")
    window = None
    if rest and rest[0] is not None:
        window = _parse_window(rest[0], count)
    return StorageClaim(key, kind.dtype, count, window)


def _parse_window(window: Any, count: int) -> tuple[int, int]:
    """Checks the (view key, offset, length) of a storage that is a view of another one."""
    if not isinstance(window, tuple) or len(window) != 3:
        raise ValueError("a torch storage view without offset and length")
    _, offset, length = window
    if type(offset) is not int or type(length) is not int or not 0 <= offset <= offset + length:
        raise ValueError("a torch storage view with a bad offset or length")
    if offset + length > count:
        raise ValueError(f"a storage view ends at {offset + length} of {count} elements")
    return offset, length


class TensorBuilder:
    """Turns rebuild calls into read-only numpy views; equal calls give the same array object.

    Args:
        byte_limit: the most bytes that all tensors together may describe.
    """

    def __init__(self, byte_limit: int):
        self.byte_limit = byte_limit
        self.bytes_left = byte_limit
        self.cache: dict[tuple[Any, ...], np.ndarray] = {}

    def rebuild(self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> np.ndarray:
        """`torch._utils._rebuild_tensor` and `_rebuild_tensor_v2`."""
        if not isinstance(storage, Storage):
            raise ValueError(f"a tensor is built from a {type(storage).__name__}, not a storage")
        return self._view(storage, storage.dtype, offset, shape, strides)

    def rebuild_v3(
        self, storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any,
        dtype: Any, *_: Any
    ) -> np.ndarray:  # fmt: skip
        """`torch._utils._rebuild_tensor_v3`: the element type stands beside the storage."""
        if not isinstance(storage, Storage) or not isinstance(dtype, np.dtype):
            raise ValueError(f"a tensor is built with dtype {dtype!r:.80} from {storage!r:.80}")
        return self._view(storage, dtype, offset, shape, strides)

    def _view(
        self, storage: Storage, dtype: np.dtype, offset: Any, shape: Any, strides: Any
    ) -> np.ndarray:
        offset, shape, strides = _check_layout(offset, shape, strides)
        start = storage.data.__array_interface__["data"][0]
        key = (storage.key, start, dtype, offset, shape, strides)
        if key not in self.cache:
            self._check_size(storage, dtype, offset, shape, strides)
            self.cache[key] = _view_storage(storage, dtype, offset, shape, strides)
        return self.cache[key]

    def _check_size(
        self, storage: Storage, dtype: np.dtype, offset: int, shape: tuple, strides: tuple
    ) -> None:
        count = 1
        for size in shape:
            count *= size
        last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
        available = storage.data.nbytes // dtype.itemsize
        if count and last >= available:
            raise ValueError(
                f"a tensor of shape {shape} and strides {strides} at offset {offset} needs "
                f'{last + 1} elements; storage "{storage.key[:40]}" has {available}'
            )
        self.bytes_left -= count * dtype.itemsize
        if self.bytes_left < 0:
            raise ValueError(
                f"the tensors claim more than {self.byte_limit} bytes, far beyond the file's size"
            )


def _check_layout(offset: Any, shape: Any, strides: Any) -> tuple[int, tuple, tuple]:
    """Returns offset, shape and strides as checked integers."""
    if not isinstance(shape, (tuple, list)) or not isinstance(strides, (tuple, list)):
        raise ValueError("a tensor without a shape or strides")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"a tensor with {len(shape)} sizes and {len(strides)} strides")
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number < 2**62:
            raise ValueError("a tensor's offset, sizes and strides must be whole numbers >= 0")
    return offset, tuple(shape), tuple(strides)


def _view_storage(
    storage: Storage, dtype: np.dtype, offset: int, shape: tuple, strides: tuple
) -> np.ndarray:
    if 0 in shape:
        return np.zeros(shape, dtype)
    steps = tuple(step * dtype.itemsize for step in strides)
    view = np.ndarray(shape, dtype, storage.data, offset * dtype.itemsize, steps)
    if storage.swapped:
        view = view.byteswap()
        view.flags.writeable = False
    return view


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _rebuild_from_type(function: Any, _type: Any, arguments: Any, _state: Any = None) -> Any:
    """A tensor subclass or a tensor with attributes: only its numbers are kept."""
    if not isinstance(function, Constructor) or not isinstance(arguments, tuple):
        return Opaque("torch._tensor", "_rebuild_from_type_v2")
    if function.call is _rebuild_from_type:
        raise ValueError("damaged pickle: a tensor type inside a tensor type")
    return function.call(*arguments)


def _device(*parts: Any) -> str:
    return ":".join(str(part) for part in parts if isinstance(part, (str, int)))[:80]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """`_codecs.encode`: how pickle protocols 0 to 2 write bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise ValueError("damaged pickle: bytes that are not written as latin-1 text")
    return text.encode("latin-1")


def _no_bytes() -> bytes:
    """`bytes()`: how pickle protocols 0 to 2 write empty bytes."""
    return b""


def _as_bytes(data: Any) -> bytes:
    return _encode(data) if isinstance(data, str) else bytes(memoryview(data))


def _mapping(*arguments: Any) -> dict:
    """dict, OrderedDict and defaultdict; a default factory is dropped."""
    pairs = arguments[-1] if arguments and isinstance(arguments[-1], (dict, list, tuple)) else ()
    items = pairs.items() if isinstance(pairs, dict) else pairs
    return {check_key(key): value for key, value in items}


def _keys(make: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda items=(): make(check_key(item) for item in _sequence(items))


def _sequence(items: Any = ()) -> Any:
    if not isinstance(items, (list, tuple, set, frozenset, dict)):
        raise ValueError(f"damaged pickle: a sequence made from a {type(items).__name__}")
    return items


def _complex(real: Any, imaginary: Any = 0.0) -> complex:
    return complex(float(real), float(imaginary))


def _numpy_array(*_: Any) -> PickledArray:
    return np.zeros(0, np.uint8).view(PickledArray)


def _numpy_dtype(code: Any, *_: Any) -> PickledDtype | Opaque:
    """A number or string type; structured and object types stay opaque."""
    if not isinstance(code, str) or not NUMPY_CODE.fullmatch(code):
        return Opaque("numpy", "dtype")
    return PickledDtype(np.dtype(code))


def _numpy_scalar(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, PickledDtype):
        return Opaque("numpy", "scalar")
    raw = _as_bytes(data)
    if len(raw) != dtype.dtype.itemsize or not raw:
        raise ValueError(f"a numpy {dtype.dtype} is written in {len(raw)} bytes")
    return np.frombuffer(raw, dtype.dtype)[0]


def _build_dtype(target: PickledDtype, state: Any) -> None:
    if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">"):
        target.dtype = target.dtype.newbyteorder(state[1])


def _build_array(target: PickledArray, state: Any) -> None:
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[3], (bool, int)):
        raise ValueError("damaged pickle: a numpy array without its five parts")
    _, shape, dtype, fortran, data = state
    if isinstance(dtype, Opaque):  # an array of objects says so by its dtype, content unread
        target.__setstate__((1, (1,), np.dtype(object), False, [dtype]))
        return
    if not isinstance(dtype, PickledDtype):
        raise ValueError("damaged pickle: a numpy array without an element type")
    _, shape, _ = _check_layout(0, shape, shape)
    raw = np.frombuffer(_as_bytes(data), dtype.dtype)
    filled = raw.reshape(shape, order="F" if fortran else "C")
    target.__setstate__((1, shape, filled.dtype, False, filled.tobytes()))


def _build_namespace(target: argparse.Namespace, state: Any) -> None:
    if isinstance(state, dict):
        vars(target).update({key: value for key, value in state.items() if type(key) is str})


BUILDERS = {
    PickledDtype: _build_dtype,
    PickledArray: _build_array,
    argparse.Namespace: _build_namespace,
}


def _plain_globals() -> dict[tuple[str, str], Any]:
    """The allowed globals that do not depend on the file."""
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): _mapping,
        ("collections", "defaultdict"): _mapping,
        ("argparse", "Namespace"): lambda *_: argparse.Namespace(),
        ("_codecs", "encode"): _encode,
        ("torch", "Size"): lambda items=(): tuple(_sequence(items)),
        ("torch", "device"): _device,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
        ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
        ("numpy", "dtype"): _numpy_dtype,
        ("numpy", "ndarray"): _numpy_array,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = _numpy_array
        table[f"{core}.multiarray", "scalar"] = _numpy_scalar
    for builtins in ("builtins", "__builtin__"):
        table[builtins, "dict"] = _mapping
        table[builtins, "list"] = lambda items=(): list(_sequence(items))
        table[builtins, "tuple"] = lambda items=(): tuple(_sequence(items))
        table[builtins, "set"] = _keys(set)
        table[builtins, "frozenset"] = _keys(frozenset)
        table[builtins, "complex"] = _complex
        table[builtins, "bytes"] = _no_bytes
        table[builtins, "bytearray"] = _encode
    return {key: Constructor(key[1], call) for key, call in table.items()}


PLAIN_GLOBALS = _plain_globals()


def unpickle(
    stream: BinaryIO, load_storage: Callable[[StorageClaim], Storage], tensors: TensorBuilder
) -> Any:
    """Returns the object of one torch pickle, with tensors as read-only numpy arrays.

    Nothing is imported or run. Classes that are not on the allow-list become `Opaque`.

    Args:
        stream: binary stream at the start of the pickle.
        load_storage: gives the bytes of a storage that the pickle refers to.
        tensors: builds the arrays and keeps account of their size.

    Raises:
        ValueError: for damaged, oversized or hostile input, including globals that run code.
    """
    rebuilders = {
        "_rebuild_tensor": tensors.rebuild,
        "_rebuild_tensor_v2": tensors.rebuild,
        "_rebuild_tensor_v3": tensors.rebuild_v3,
    }
    allowed = PLAIN_GLOBALS | {
        ("torch._utils", name): Constructor(name, call) for name, call in rebuilders.items()
    }

    def find_global(module: str, name: str) -> Any:
        refuse_code_runners(module, name)
        if (module, name) in allowed:
            return allowed[module, name]
        if module in ("torch", "torch.cuda", "torch.storage") and name in STORAGE_DTYPES:
            return StorageType(name, STORAGE_DTYPES[name])
        if module == "torch" and name in TORCH_DTYPES:
            return TORCH_DTYPES[name]
        return Opaque(module, name)

    def load_persistent(claim: Any) -> Storage | Opaque:
        if isinstance(claim, tuple) and claim[:1] == ("module",):  # a class with its source text
            return claim[1] if isinstance(claim[1], Opaque) else Opaque("torch.nn", "Module")
        return load_storage(parse_storage_id(claim))

    return PickleMachine(find_global, load_persistent, BUILDERS).run(stream)
