"""The file in which the vectors of a folder of pictures are kept, as safetensors."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.weights.checkpoint_file import map_file
from vlp_jax.weights.safetensors_file import read_safetensors, write_safetensors

_FORMAT = "vlp_jax image index 1"

Stamp = tuple[int, int]
"""Size in bytes and time of change in nanoseconds, by which a file is known again."""


@dataclass
class Kept:
    """What is known of the pictures of a folder, by their paths in it.

    Attributes:
      model: fingerprint of the model that encoded them.
      stamps: of each file as it was then. vectors: its float32 [W].
      seconds: the least that reading and encoding took a picture.
    """

    model: str
    stamps: dict[str, Stamp] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: float = float("inf")


def write_index(path: Path, kept: Kept) -> None:
    """Writes the pictures that have vectors, whole or not at all; OSError where it can't be."""
    names = list(kept.vectors)
    arrays = {
        "vectors": np.stack([kept.vectors[name] for name in names]),
        "stamps": np.array([kept.stamps[name] for name in names], np.int64),
    }
    facts = {
        "format": _FORMAT,
        "model": kept.model,
        "names": json.dumps(names),
        "seconds": repr(kept.seconds),
    }
    write_safetensors(path, arrays, facts | {"digest": _digest(arrays, facts)})


def read_index(path: Path) -> Kept | None:
    """Returns what a file keeps, or None if there is none; ValueError for one that is no index."""
    if not path.exists():
        return None
    try:
        with foreign_bytes():
            return _read(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged or no index of pictures ({error}): delete it, and it is made "
            "again, or give another path as the index"
        ) from None


def _read(path: Path) -> Kept:
    arrays, facts = read_safetensors(map_file(path), path)
    if facts.pop("digest", None) != _digest(arrays, facts) or facts["format"] != _FORMAT:
        raise ValueError("its content is not what was written")
    names = json.loads(facts["names"])
    stamps = map(tuple, arrays["stamps"].tolist())
    vectors = np.array(arrays["vectors"])  # a copy, as the file is going to be replaced
    return Kept(
        facts["model"],
        dict(zip(names, stamps, strict=True)),
        dict(zip(names, vectors, strict=True)),
        float(facts["seconds"]),
    )


def _digest(arrays: dict[str, np.ndarray], facts: dict[str, str]) -> str:
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]))
    return digest.hexdigest()
