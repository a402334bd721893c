"""Damages bytes as disks and copies do: cut off, overwritten, doubled."""

import os

import numpy as np

TIMES = int(os.environ.get("TEST_DAMAGE", "1"))
"""How many times as many files as usual are damaged; TEST_SEED decides how."""


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Returns the bytes with one of five kinds of damage."""
    changed, kind = bytearray(data), int(rng.integers(5))
    place, other = (int(p) for p in rng.integers(len(data), size=2))
    if kind == 0:
        return data[:place]
    if kind == 1:
        changed[place : place + 64] = rng.bytes(64)
    elif kind == 2:
        changed[place:place] = data[other : other + 200]
    else:
        near = len(data) if kind == 3 else min(len(data), 4096)
        for at in rng.integers(near, size=rng.integers(1, 12)):
            changed[at] = rng.integers(256)
    return bytes(changed)
