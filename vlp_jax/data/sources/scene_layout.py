"""Places boxes on a canvas at random and tells the spatial relation between two of them."""

import functools
from typing import NamedTuple

import numpy as np

OPPOSITES = {"left": "right", "right": "left", "above": "below", "below": "above"}
MAX_OBJECTS = 4

# Longer side of an object as a share of the canvas, by the number of objects.
_SIZES = {1: (0.32, 0.50), 2: (0.34, 0.47), 3: (0.30, 0.42), 4: (0.28, 0.375)}
# Boxes may reach this share of the canvas into each other: the corners of emoji are empty.
_OVERLAP = 1 / 32
# By how much one offset must exceed the other for a relation to be clear to a person.
_MARGIN = 1 / 10
_CORNER_MARGIN = 1 / 16
_CANDIDATES = 64
_ROUNDS = 1000


class _Pairs(NamedTuple):
    first: np.ndarray
    second: np.ndarray
    described: list[int]


@functools.cache
def _pairs(count: int) -> _Pairs:
    """All pairs of objects, and the ones whose relation a caption tells: (0,1) and (2,3)."""
    first, second = np.triu_indices(count, 1)
    described = [k for k, (i, j) in enumerate(zip(first, second)) if i % 2 == 0 and j == i + 1]
    return _Pairs(first, second, described)


def draw_sizes(rng: np.random.Generator, count: int, canvas: int) -> list[int]:
    """Returns the longer sides, in pixels, of `count` objects."""
    low, high = (round(share * canvas) for share in _SIZES[count])
    return [low + int(u * (high - low + 1)) for u in rng.random(count)]


def place_boxes(rng: np.random.Generator, sizes: np.ndarray, canvas: int) -> np.ndarray:
    """Returns int32 [N,4] boxes x1,y1,x2,y2 for objects of (width, height) `sizes` [N,2].

    Positions are uniform over those where boxes barely overlap and the relations that captions
    tell are clear, so they are symmetric under reflection: "left" is as likely as "right".
    """
    free = canvas - sizes + 1
    valid = _in_corner if len(sizes) == 1 else _apart_and_clear
    for _ in range(_ROUNDS):
        corners = (rng.random((_CANDIDATES, len(sizes), 2)) * free).astype(np.int32)
        good = valid(corners + sizes / 2, sizes, canvas)
        best = int(good.argmax())
        if good[best]:
            return np.concatenate([corners[best], corners[best] + sizes], axis=-1, dtype=np.int32)
    raise ValueError(f"no room for objects of {sizes.tolist()} pixels on a canvas of {canvas}")


def relation(first: np.ndarray, second: np.ndarray, canvas: int) -> str | None:
    """Returns where box `first` is relative to box `second`, or None if that is not clear.

    The larger offset between the box centres decides, if it is larger by a tenth of the canvas.
    """
    x, y = ((first[:2] + first[2:] - second[:2] - second[2:]) / 2).tolist()
    if abs(abs(x) - abs(y)) < _MARGIN * canvas:
        return None
    if abs(x) > abs(y):
        return "left" if x < 0 else "right"
    return "above" if y < 0 else "below"


def corner(box: np.ndarray, canvas: int) -> tuple[str, str]:
    """Returns ("top" or "bottom", "left" or "right"): the part of the canvas a box lies in."""
    x, y = ((box[:2] + box[2:]) / 2).tolist()
    return "top" if y < canvas / 2 else "bottom", "left" if x < canvas / 2 else "right"


def in_corner(box: np.ndarray, canvas: int) -> bool:
    """Returns whether a box lies clearly in one corner: its centre is off both middle lines."""
    off_middle = np.abs((box[:2] + box[2:]) / 2 - canvas / 2)
    return bool((off_middle >= _CORNER_MARGIN * canvas).all())


def extremes(boxes: np.ndarray, canvas: int) -> dict[str, int]:
    """Returns, for each direction in which one object lies clearly furthest, its index."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    keys = {"left": centres[:, 0], "right": -centres[:, 0]}
    keys |= {"above": centres[:, 1], "below": -centres[:, 1]}
    found = {}
    for direction, key in keys.items():
        order = key.argsort()
        if len(order) > 1 and key[order[1]] - key[order[0]] >= _MARGIN * canvas:
            found[direction] = int(order[0])
    return found


def _in_corner(centres: np.ndarray, sizes: np.ndarray, canvas: int) -> np.ndarray:
    return (np.abs(centres - canvas / 2) >= _CORNER_MARGIN * canvas).all((1, 2))


def _apart_and_clear(centres: np.ndarray, sizes: np.ndarray, canvas: int) -> np.ndarray:
    first, second, described = _pairs(len(sizes))
    offsets = np.abs(centres[:, first] - centres[:, second])
    needed = (sizes[first] + sizes[second]) / 2 - _OVERLAP * canvas
    apart = (offsets >= needed).any(-1).all(-1)
    clear = np.abs(offsets[:, described, 0] - offsets[:, described, 1]) >= _MARGIN * canvas
    return apart & clear.all(-1)
