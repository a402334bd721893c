"""Globals that plain data and numpy values need in a pickle, and how their objects are built."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from vlp_jax.pickles.safety import Constructor, Opaque, check_key

MAX_DIMENSIONS = 32
NUMPY_CODE = re.compile(r"[?bBhHiIlLqQefdFD]|[biufcSU]\d{1,6}")


class PickledArray(np.ndarray):
    """A numpy array whose content is inside the pickle; empty until BUILD fills it."""


class PickledDtype:
    """A numpy dtype under construction: its code, then its byte order."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


def check_layout(offset: Any, shape: Any, strides: Any) -> tuple[int, tuple, tuple]:
    """Returns offset, shape and strides as checked integers."""
    if not isinstance(shape, (tuple, list)) or not isinstance(strides, (tuple, list)):
        raise ValueError("a tensor without a shape or strides")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"a tensor with {len(shape)} sizes and {len(strides)} strides")
    for number in (offset, *shape, *strides):
        if type(number) is not int or not 0 <= number < 2**62:
            raise ValueError("a tensor's offset, sizes and strides must be whole numbers >= 0")
    return offset, tuple(shape), tuple(strides)


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
    return lambda items=(): make(check_key(item) for item in sequence(items))


def sequence(items: Any = ()) -> Any:
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


def _numpy_from_buffer(
    data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
) -> np.ndarray | Opaque:
    """`_frombuffer`: how pickle protocol 5 writes arrays; "K" gives the order of the axes."""
    if not isinstance(dtype, PickledDtype):
        return Opaque("numpy", "_frombuffer")
    _, shape, _ = check_layout(0, shape, shape)
    numbers = np.frombuffer(_as_bytes(data), dtype.dtype)
    if order == "K" and axes is not None:
        return numbers.reshape(shape).transpose(axes)
    return numbers.reshape(shape, order="F" if order == "F" else "C")


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
    _, shape, _ = check_layout(0, shape, shape)
    raw = np.frombuffer(_as_bytes(data), dtype.dtype)
    filled = raw.reshape(shape, order="F" if fortran else "C")
    target.__setstate__((1, shape, filled.dtype, False, filled.tobytes()))


BUILDERS = {PickledDtype: _build_dtype, PickledArray: _build_array}


def _globals() -> dict[tuple[str, str], Constructor]:
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): _mapping,
        ("collections", "defaultdict"): _mapping,
        ("_codecs", "encode"): _encode,
        ("numpy", "dtype"): _numpy_dtype,
        ("numpy", "ndarray"): _numpy_array,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = _numpy_array
        table[f"{core}.multiarray", "scalar"] = _numpy_scalar
        table[f"{core}.numeric", "_frombuffer"] = _numpy_from_buffer
    for builtins in ("builtins", "__builtin__"):
        table[builtins, "dict"] = _mapping
        table[builtins, "list"] = lambda items=(): list(sequence(items))
        table[builtins, "tuple"] = lambda items=(): tuple(sequence(items))
        table[builtins, "set"] = _keys(set)
        table[builtins, "frozenset"] = _keys(frozenset)
        table[builtins, "complex"] = _complex
        table[builtins, "bytes"] = _no_bytes
        table[builtins, "bytearray"] = _encode
    return {key: Constructor(key[1], call) for key, call in table.items()}


GLOBALS = _globals()
"""(module, name) -> what stands for it."""
