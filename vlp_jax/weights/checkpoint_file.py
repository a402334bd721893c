"""Opening a checkpoint: nearest-name errors, memory mapping and recognition by content."""

import mmap
from pathlib import Path

import numpy as np

from vlp_jax.data import paths
from vlp_jax.data.buckets import is_bucket
from vlp_jax.weights.hub import fetched

TORCH_ZIP = "torch zip"
TORCH_LEGACY = "torch legacy"
SAFETENSORS = "safetensors"
PICKLE = "pickle"

# How a pickle begins, of protocols 2 to 5; torch's legacy file does, too.
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
LEGACY_MAGIC = bytes.fromhex("8a0a6cfc9c46f9206aa850192e")
# Of a safetensors file, whose first eight bytes are the header's size; the library reads no larger.
_LARGEST_HEADER = 100_000_000
GIT_LFS_POINTER = b"version https://git-lfs"


def existing_path(path: str | Path) -> Path:
    """Returns `path`, fetched if it is on the hub; FileNotFoundError names the nearest sibling."""
    return paths.existing_path(fetched(path), "weights", buckets=True)


def map_file(path: str | Path) -> np.ndarray:
    """Returns the file's bytes as a read-only uint8 array [size].

    It is memory-mapped; what is in a bucket is read into memory.
    """
    path = paths.existing_file(fetched(path), "weights", buckets=True)
    content = paths.file_bytes(path) if is_bucket(path) else _mapped(path)
    if not content:
        raise ValueError(f"{path} is empty; expected a checkpoint file")
    return np.frombuffer(content, np.uint8)


def _mapped(path: Path) -> bytes | mmap.mmap:
    if path.stat().st_size == 0:  # which cannot be mapped
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def release_pages(data: np.ndarray) -> None:
    """Takes a mapped file out of this process's memory; it is read again where it is used again."""
    mapped = data.base
    while isinstance(mapped, (np.ndarray, memoryview)):
        mapped = mapped.base if isinstance(mapped, np.ndarray) else mapped.obj
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def recognise(data: np.ndarray, path: str | Path) -> str:
    """Returns the container kind of a file's bytes; its name does not matter.

    Raises ValueError for anything that is neither a torch file, nor safetensors, nor a pickle, in
    which Detectron2 and others keep numpy arrays.
    """
    head = data[:512].tobytes()
    # First, as a header's size may begin like a pickle: one of 640 bytes does.
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_HEADER:
        return SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        return TORCH_ZIP
    if head[:1] == b"\x80" and LEGACY_MAGIC in head[:40]:
        return TORCH_LEGACY
    if head.startswith(_PICKLES):
        return PICKLE
    raise ValueError(
        f"{path} is {_describe(head)}; expected a torch file (zip or legacy), safetensors or "
        "a pickle of numpy arrays"
    )


def _describe(head: bytes) -> str:
    """Says in words what unsupported content looks like."""
    if head[257:262] == b"ustar":
        return (
            "a tar archive as torch wrote before version 0.1.10, which is unsupported: load it "
            "with torch and save it again"
        )
    if head.startswith(GIT_LFS_POINTER):
        return "a Git LFS pointer, not the file itself: run `git lfs pull`"
    if head.lstrip()[:1] == b"<":
        return "a web page, probably a failed download"
    return f"no known checkpoint format (it starts with {head[:8].hex(' ')}), or truncated"
