"""Words that captions are to hold, from the boxes of a detector of Open Images (nocaps).

Source: `oscar/utils/cbs.py` of github.com/microsoft/Oscar, after nocaps-org/updown-baseline.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.config import nearest
from vlp_jax.data.boxes import box_iou, checked_boxes
from vlp_jax.data.entry import take
from vlp_jax.data.foreign import foreign_bytes, shortened
from vlp_jax.data.json_text import parse_json, read_object
from vlp_jax.data.paths import read_file

MOST = 3
"""Constraints of a picture."""

OVERLAP = 0.85
"""Of two boxes that overlap by more the one of the more general class goes."""

# Classes that are never asked for: rare, not what people say, or covered well by COCO.
_LEFT_OUT = frozenset(
    "auto part;bathroom accessory;bicycle wheel;boy;building;clothing;door handle;"
    "fashion accessory;footwear;girl;hiking equipment;human arm;human beard;human body;human ear;"
    "human eye;human face;human foot;human hair;human hand;human head;human leg;human mouth;"
    "human nose;land vehicle;mammal;man;person;personal care;plant;plumbing fixture;seat belt;"
    "skull;sports equipment;tire;tree;vehicle registration plate;wheel;woman;__background__".split(
        ";"
    )
)
_SAID = {
    "band-aid": "bandaid",
    "wood-burning stove": "wood burning stove",
    "kitchen & dining room table": "table",
    "salt and pepper shakers": "salt and pepper",
    "power plugs and sockets": "power plugs",
    "luggage and bags": "luggage",
}


@dataclass(frozen=True)
class Hierarchy:
    """How general classes are: name → levels below it, from the top down."""

    heights: Mapping[str, int]

    @classmethod
    def read(cls, path: str) -> "Hierarchy":
        """Reads Open Images' tree, {"LabelName": …, "Subcategory": […]}, with names in it."""
        what = "file of classes"
        return cls(_heights(read_object(path, what), f"{what} {path}"))

    def height(self, name: str) -> int:
        """Returns that of the first class whose name is a part of this one, as published."""
        found = (height for part, height in self.heights.items() if part in name)
        height = next(found, None)
        if height is None:
            raise ValueError(
                f'class "{shortened(name)}" is not in the hierarchy.{nearest(name, self.heights)}'
            )
        return height


def _heights(root: Mapping[str, Any], where: str) -> dict[str, int]:
    names, parents, open_ = [], [], [(root, -1)]
    while open_:
        node, parent = open_.pop()
        name = node.get("LabelName") if isinstance(node, Mapping) else None
        below = node.get("Subcategory", []) if isinstance(node, Mapping) else None
        if not isinstance(name, str) or not isinstance(below, list):
            raise ValueError(
                f'{where}: {node!r:.80} is no class; expected "LabelName" and "Subcategory"'
            )
        open_ += [(child, len(names)) for child in reversed(below)]
        names.append(name.lower())
        parents.append(parent)
    heights = [0] * len(names)
    for number in range(len(names) - 1, 0, -1):
        above = parents[number]
        heights[above] = max(heights[above], heights[number] + 1)
    made: dict[str, int] = {}
    for name, height in zip(names, heights):
        made.setdefault(name, height)
    return made


@dataclass(frozen=True)
class Boxes:
    """What a detector found in a picture: corners in pixels [N, 4], classes, and their shares."""

    corners: np.ndarray
    classes: tuple[str, ...]
    confidence: np.ndarray

    @classmethod
    def of(cls, found: Sequence[Mapping[str, Any]]) -> "Boxes":
        """Returns those of a list of {"rect": [x1, y1, x2, y2], "class": …, "conf": …}."""
        if not isinstance(found, list) or not all(isinstance(box, Mapping) for box in found):
            raise ValueError(f"holds {found!r:.80}, expected a list of boxes")
        rects = [take(box, "rect") for box in found]
        if any(not isinstance(rect, list) or len(rect) != 4 for rect in rects):
            raise ValueError('has a "rect" that is not [x1, y1, x2, y2]')
        corners = np.array(rects, np.float64).reshape(-1, 4)
        classes = tuple(str(take(box, "class")).lower() for box in found)
        confidence = np.array([take(box, "conf") for box in found], np.float64)
        if not np.isfinite([*corners.ravel(), *confidence]).all():
            raise ValueError("has a box with numbers that are not finite")
        return cls(checked_boxes("rect", corners), classes, confidence)


def constraints_of(boxes: Boxes, hierarchy: Hierarchy, overlap: float) -> list[str]:
    """Returns the names, up to `MOST`, that a caption is to hold, the surest first.

    The published code means to drop general classes by `OVERLAP`, but keeps what is at least as
    general as what it is compared with, and so everything: that is an overlap of 1.
    """
    kept = [
        number
        for number, name in enumerate(boxes.classes)
        if boxes.confidence[number] > 0 and name not in _LEFT_OUT
    ]
    kept = _most_special(kept, boxes, hierarchy, overlap)
    surest = sorted(kept, key=lambda number: -boxes.confidence[number])[:MOST]
    names = (boxes.classes[number] for number in surest)
    return list(dict.fromkeys(_SAID.get(name, name) for name in names))


def _most_special(
    numbers: Sequence[int], boxes: Boxes, hierarchy: Hierarchy, overlap: float
) -> list[int]:
    heights = {number: hierarchy.height(boxes.classes[number]) for number in numbers}
    shown = boxes.corners + [0, 0, 1, 1]  # a box ends behind its last pixel
    left, kept = sorted(numbers, key=heights.get), []
    while left:
        first, *others = left
        kept.append(first)
        same = lambda number: box_iou(shown[first], shown[number]) > overlap
        left = [n for n in others if heights[n] <= heights[first] or not same(n)]
    return kept


def phrases_of(name: str, forms: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns the phrases of which one has to occur: the name with all forms of its words."""
    words = (forms.get(word, [word]) for word in name.split())
    return [" ".join(chosen) for chosen in itertools.product(*words)]


def read_forms(path: str) -> dict[str, list[str]]:
    """Reads the forms of words: a word, a tab and its forms with commas between them, a line."""
    rows = _rows(path, "file of word forms")
    return {word: [form for form in rest.split(",") if form.strip()] for word, rest in rows}


def read_boxes(path: str) -> Iterator[tuple[str, Boxes]]:
    """Yields pictures and what was found in them: a key, a tab and a JSON list, a line."""
    for key, text in _rows(path, "file of boxes"):
        name = f'{path}, picture "{shortened(key)}"'
        found = parse_json(text, name)
        with foreign_bytes(name):
            yield key, Boxes.of(found)


def read_ids(path: str) -> dict[str, str]:
    """Reads which id a picture of Open Images has in nocaps (`nocaps_val_image_info.json`)."""
    content = read_object(path, "file of pictures")
    with foreign_bytes(path):
        return {take(one, "open_images_id"): str(take(one, "id")) for one in content["images"]}


def _rows(path: str, what: str) -> Iterator[tuple[str, str]]:
    with foreign_bytes(f"{what} {path}"):
        lines = read_file(path, what).decode().splitlines()
    for number, line in enumerate(lines, 1):
        key, tab, rest = line.partition("\t")
        if line.strip() and not tab:
            raise ValueError(f"{what} {path}, line {number}: expected two columns, by a tab")
        if tab:
            yield key.strip(), rest.strip()
