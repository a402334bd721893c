"""The allow-list of torch checkpoints: tensors, numpy values and plain containers, as numpy."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from vlp_jax.pickles.machine import PickleMachine
from vlp_jax.pickles.numpy_values import BUILDERS as NUMPY_BUILDERS
from vlp_jax.pickles.numpy_values import GLOBALS as NUMPY_GLOBALS
from vlp_jax.pickles.numpy_values import check_layout, sequence
from vlp_jax.pickles.safety import Constructor, Opaque, refuse_code_runners

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
        offset, shape, strides = check_layout(offset, shape, strides)
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


def _build_namespace(target: argparse.Namespace, state: Any) -> None:
    if isinstance(state, dict):
        vars(target).update({key: value for key, value in state.items() if type(key) is str})


BUILDERS = {**NUMPY_BUILDERS, argparse.Namespace: _build_namespace}

PLAIN_GLOBALS = NUMPY_GLOBALS | {
    key: Constructor(key[1], call)
    for key, call in {
        ("argparse", "Namespace"): lambda *_: argparse.Namespace(),
        ("torch", "Size"): lambda items=(): tuple(sequence(items)),
        ("torch", "device"): _device,
        ("torch._utils", "_rebuild_parameter"): _parameter,
        ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
        ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    }.items()
}
"""The allowed globals that do not depend on the file."""


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
