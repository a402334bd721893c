"""Reading safetensors as memory-mapped views, and writing safetensors files and directories."""

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from vlp_jax.data.buckets import is_bucket
from vlp_jax.weights.torch_unpickler import TORCH_DTYPES

SAFETENSORS_DTYPES: dict[str, np.dtype] = {
    code: TORCH_DTYPES[name]
    for code, name in {
        "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
        "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
        "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool", "C64": "complex64",
        "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    }.items()
}  # fmt: skip

# Hugging Face readers refuse a model.safetensors that does not say whose layout it has.
TORCH_LAYOUT = {"format": "pt"}


def read_safetensors(data: np.ndarray, path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Returns (arrays, metadata) of a safetensors file whose bytes (uint8 [N]) are `data`.

    The library checks the header; the arrays are read-only views of `data`, so that no second
    copy of the file is in memory.
    """
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    try:
        with _on_disk(path, data, start) as place, safe_open(place, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is a damaged or truncated safetensors file: {error}") from None
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise ValueError(
                f'{path}: tensor "{name}" has type {entry["dtype"]}; expected one of '
                f"{', '.join(SAFETENSORS_DTYPES)}"
            )
        dtype = SAFETENSORS_DTYPES[entry["dtype"]]
        begin = start + entry["data_offsets"][0]
        shape = tuple(entry["shape"])
        arrays[name] = (
            np.zeros(shape, dtype) if 0 in shape else np.ndarray(shape, dtype, data, begin)
        )
    return arrays, metadata


@contextmanager
def _on_disk(path: str | Path, data: np.ndarray, start: int) -> Iterator[str | Path]:
    """Gives a file to the library, which checks no bytes: of one in a bucket the header alone."""
    if not is_bucket(path):
        yield path
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(data[:start].tobytes())
        file.truncate(data.size)  # the arrays are a hole in it
        file.flush()
        yield file.name


def write_safetensors(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Writes named arrays as one safetensors file, whole or not at all.

    Arrays that share memory are written once each. Metadata holds text only.

    Raises:
        ValueError: nothing to write, an array of objects or strings, or metadata that is not text.
    """
    _check_writable(path, arrays, metadata or {})
    path = Path(path)
    with staging_folder(path) as staging:
        _save(staging / path.name, arrays, metadata or {})
        os.replace(staging / path.name, path)


def write_directory(
    path: str | Path, arrays: Mapping[str, np.ndarray], config: Mapping[str, Any]
) -> None:
    """Writes a Hugging Face directory: config.json and model.safetensors.

    A new directory appears whole or not at all; in an existing one the two files are replaced.

    Raises:
        ValueError: `path` is a file, or as in `write_safetensors`.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file; expected a directory or a new name")
    _check_writable(path, arrays, TORCH_LAYOUT)
    text = json.dumps(dict(config), indent=2, sort_keys=True) + "\n"
    with staging_folder(path) as staging:
        (staging / "config.json").write_text(text, encoding="utf-8")
        _save(staging / "model.safetensors", arrays, TORCH_LAYOUT)
        if path.exists():
            for name in ("model.safetensors", "config.json"):
                os.replace(staging / name, path / name)
        else:
            os.replace(staging, path)


@contextmanager
def staging_folder(path: Path) -> Iterator[Path]:
    """Gives a new folder beside `path` (same disk, so moving is atomic), removed at the end."""
    staging = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    staging.mkdir(parents=True)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _check_writable(
    path: str | Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Raises ValueError for what safetensors cannot hold."""
    if not arrays:
        raise ValueError(f"{path}: there are no arrays to write")
    known = set(SAFETENSORS_DTYPES.values())
    for name, array in arrays.items():
        dtype = getattr(array, "dtype", None)
        if not isinstance(name, str) or dtype not in known:
            raise ValueError(
                f'{path}: "{name}" is {dtype or type(array).__name__}; expected an array of '
                f"{', '.join(sorted(map(str, known)))}"
            )
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise ValueError(f'{path}: metadata "{key}" is not text; safetensors holds only text')


def _save(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    save_file(contiguous, path, dict(metadata))
    # The library makes files that only their owner can read; others get what folders allow.
    path.chmod(path.parent.stat().st_mode & 0o666)
