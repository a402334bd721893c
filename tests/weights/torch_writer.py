"""A minimal writer of both torch containers for tests: pickle, zipfile and struct, no torch."""

import io
import pickle
import struct
import zipfile
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

STORAGE_NAMES = {
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.int16): "ShortStorage",
    np.dtype(np.int8): "CharStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(np.bool_): "BoolStorage",
    np.dtype(np.complex64): "ComplexFloatStorage",
    np.dtype(np.complex128): "ComplexDoubleStorage",
}


@dataclass(frozen=True)
class Global:
    """A global that is pickled by name alone; it need not exist."""

    module: str
    name: str

    def __call__(self) -> None:
        raise AssertionError("only its name is ever used")


@dataclass
class Call:
    """An object that is pickled as function(*arguments), and a state if there is one."""

    function: Global
    arguments: tuple
    state: Any = None


@dataclass
class Storage:
    """A flat array; `claim` overrides the element count that the pickle names."""

    data: np.ndarray
    claim: int | None = None
    window: tuple | None = None
    type_name: str | None = None
    key: str = ""


@dataclass
class Tensor:
    """A strided window of a storage, in elements."""

    storage: Storage
    shape: tuple
    strides: tuple
    offset: int = 0


def tensor(array: np.ndarray) -> Tensor:
    """A contiguous tensor with a storage of its own."""
    array = np.asarray(array)
    steps = np.empty(array.shape, np.uint8).strides
    return Tensor(Storage(np.ascontiguousarray(array).reshape(-1)), array.shape, steps)


@dataclass
class _Writer(pickle._Pickler):
    """Pickles `Global`, `Call`, `Storage` and `Tensor` as torch would write the real things."""

    stream: io.BytesIO
    legacy: bool
    protocol_number: int
    storages: list[Storage] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.stream, self.protocol_number)

    def persistent_id(self, value: Any) -> tuple | None:
        if not isinstance(value, Storage):
            return None
        if not any(value is known for known in self.storages):
            value.key = str(len(self.storages))
            self.storages.append(value)
        name = value.type_name or STORAGE_NAMES[value.data.dtype]
        count = value.data.size if value.claim is None else value.claim
        claim = ("storage", Global("torch", name), value.key, "cpu", count)
        return (*claim, value.window) if self.legacy else claim

    def save_named(self, value: Global) -> None:
        self.write(b"c" + value.module.encode() + b"\n" + value.name.encode() + b"\n")

    def save_call(self, value: Call) -> None:
        self.save_reduce(value.function, value.arguments, state=value.state)

    def save_tensor(self, value: Tensor) -> None:
        rebuild = Global("torch._utils", "_rebuild_tensor_v2")
        hooks = Call(Global("collections", "OrderedDict"), ())
        layout = (value.storage, value.offset, value.shape, value.strides, False, hooks)
        self.save_reduce(rebuild, layout, obj=value)

    dispatch = pickle._Pickler.dispatch | {
        Global: save_named,
        Call: save_call,
        Tensor: save_tensor,
    }


def pickle_bytes(value: Any, protocol: int = 2) -> bytes:
    """Pickles a value that may hold `Global` and `Call`, but no storages."""
    writer = _Writer(io.BytesIO(), False, protocol)
    writer.dump(value)
    return writer.stream.getvalue()


def zip_bytes(
    value: Any,
    root: str = "archive/",
    compression: int = zipfile.ZIP_STORED,
    byteorder: str | None = "little",
    extra: dict[str, bytes] | None = None,
) -> bytes:
    """The bytes of a torch >= 1.6 file."""
    writer = _Writer(io.BytesIO(), False, 2)
    writer.dump(value)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        archive.writestr(f"{root}data.pkl", writer.stream.getvalue())
        if byteorder is not None:
            archive.writestr(f"{root}byteorder", byteorder)
        for storage in writer.storages:
            data = storage.data.byteswap() if byteorder == "big" else storage.data
            archive.writestr(f"{root}data/{storage.key}", data.tobytes())
        archive.writestr(f"{root}version", "3\n")
        for name, content in (extra or {}).items():
            archive.writestr(name, content)
    return target.getvalue()


def legacy_bytes(value: Any, protocol: int = 2) -> bytes:
    """The bytes of a torch file from before version 1.6."""
    writer = _Writer(io.BytesIO(), True, protocol)
    writer.dump(value)
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    parts = [pickle.dumps(part, protocol) for part in (0x1950A86A20F9469CFC6C, 1001, info)]
    parts += [writer.stream.getvalue()]
    parts += [pickle.dumps([storage.key for storage in writer.storages], protocol)]
    for storage in writer.storages:
        count = storage.data.size if storage.claim is None else storage.claim
        parts += [struct.pack("<q", count), storage.data.tobytes()]
    return b"".join(parts)
