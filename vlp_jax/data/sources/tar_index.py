"""Where each sample's members lie in a WebDataset tar shard: built once, kept in a file."""

import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from vlp_jax.data.buckets import is_bucket, open_object
from vlp_jax.data.kept_arrays import keep_arrays
from vlp_jax.data.sources.base import stable_fraction

_NAME = "tar_index"  # of the kept file; to be changed with the arrays in it
_THREADS = 8  # reading headers waits for the disk
_BLOCK = 512
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True)
class TarIndex:
    """The samples of one shard and where their members are.

    keys: bytes [N], the UTF-8 names up to the first dot. places: float64 [N], a hash of each key
    in [0, 1). sample: int32 [M] and extension: int32 [M], whose member this is. offset, length:
    int64 [M], bytes in the shard. extensions: the lower-case names that `extension` counts.
    problem: why reading ended before the end of the shard, or "".
    """

    keys: np.ndarray
    places: np.ndarray
    sample: np.ndarray
    extension: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    extensions: np.ndarray
    problem: np.ndarray

    def spans(self, extension: str) -> np.ndarray:
        """Returns int64 [N, 2]: offset and length of each sample's member, -1 where it has none."""
        spans = np.full((len(self.keys), 2), -1, np.int64)
        rows = np.isin(self.extension, np.flatnonzero(self.extensions == extension))
        spans[self.sample[rows]] = np.stack([self.offset[rows], self.length[rows]], 1)
        return spans


def open_indices(shards: list[Path]) -> list[TarIndex]:
    """Returns the index of each shard; those missing or out of date are built and kept."""
    with ThreadPoolExecutor(min(_THREADS, len(shards))) as pool:
        return list(pool.map(_open_index, shards))


def _open_index(shard: Path) -> TarIndex:
    return TarIndex(**keep_arrays(shard, _NAME, lambda file: vars(build_index(file))))


def build_index(shard: Path) -> TarIndex:
    """Returns the index of a shard from its headers; ValueError if it is not a plain tar file.

    Members of one key form a sample wherever they lie; of two with the same name the later one
    counts, as in tar. Reading ends at a damaged place, which `problem` then describes.
    """
    samples: dict[str, int] = {}
    extensions: dict[str, int] = {}
    rows: list[tuple[int, int, int, int]] = []
    problem = ""
    try:
        for key, extension, offset, length in _members(shard):
            sample = samples.setdefault(key, len(samples))
            number = extensions.setdefault(extension, len(extensions))
            rows.append((sample, number, offset, length))
    except _Damaged as error:
        problem = str(error)
    table = np.array(rows, np.int64).reshape(-1, 4).T
    return TarIndex(
        keys=np.array([key.encode() for key in samples], "S"),
        places=np.array([stable_fraction(key) for key in samples], np.float64),
        sample=table[0].astype(np.int32),
        extension=table[1].astype(np.int32),
        offset=table[2],
        length=table[3],
        extensions=np.array(list(extensions), "U"),
        problem=np.array(problem, "U"),
    )


class _Damaged(Exception):
    """The rest of a shard can't be read."""


def _members(shard: Path) -> Iterator[tuple[str, str, int, int]]:
    """Yields key, extension, offset and length of every file in a shard that is of a sample."""
    with open_object(shard) if is_bucket(shard) else shard.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        _check_plain(shard, stream.read(_BLOCK))
        stream.seek(0)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                end = 0
                while (member := tar.next()) is not None:
                    tar.members.clear()  # it remembers all of them otherwise
                    if member.size < 0 or tar.offset <= end:  # tarfile would read on from there
                        raise _Damaged(f"damaged at byte {end}")
                    end = tar.offset
                    if max(member.offset_data + member.size, end - _BLOCK) > size:
                        raise _Damaged(f'cut short within "{_readable(member.name)}"')
                    if member.isreg() and not member.issparse():
                        key, extension = split_name(_readable(member.name))
                        if extension:
                            yield key, extension, member.offset_data, member.size
        except (_Damaged, OSError):  # the disk's errors are no damage to be remembered
            raise
        except Exception as error:  # tarfile passes on what its parsing of damaged headers raises
            raise _Damaged(f"damaged: {str(error) or type(error).__name__}") from None
        stream.seek(end)  # tarfile takes a damaged header for the end of the archive
        block = stream.read(_BLOCK)
        if block.strip(b"\0"):
            raise _Damaged(f"damaged at byte {end}")
        if not block:
            raise _Damaged("cut short: the end mark is missing")


def _check_plain(shard: Path, start: bytes) -> None:
    kind = next((kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)), None)
    if kind and start[257:262] != b"ustar":  # a member's name may begin with such bytes, too
        raise ValueError(
            f"shard {shard} is compressed with {kind}; samples can be read directly only from a "
            "plain tar file: decompress it (pictures hardly shrink)"
        )


def _readable(name: str) -> str:
    """Returns a name without the surrogates by which tarfile passes on bytes that aren't UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def split_name(name: str) -> tuple[str, str]:
    """Returns key and lower-case extension of a member: `a/b.Seg.PNG` → `a/b`, `seg.png`.

    The extension of hidden files and of names like `__index__` is empty: they are no samples.
    Source: WebDataset's convention, https://github.com/webdataset/webdataset.
    """
    path = PurePosixPath(name)
    stem, _, extension = path.name.partition(".")
    if not stem or (stem.startswith("__") and stem.endswith("__")):
        return name, ""
    return str(path.with_name(stem)), extension.lower()
