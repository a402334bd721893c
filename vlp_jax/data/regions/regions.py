"""What a detector found in one picture, and the rules by which a reader accepts it."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np

PER_REGION = (
    "features",
    "boxes",
    "class_scores",
    "labels",
    "confidence",
    "attributes",
    "attribute_confidence",
    "box_sizes",
    "names",
)
"""The fields of `Regions` with one row for each region."""

OPTIONAL = PER_REGION[2:]
"""Those of them that a source may lack."""

_RECORD_KEYS = {
    "features": "region_features",
    "boxes": "boxes",
    "width": "width",
    "height": "height",
    "class_scores": "region_class_scores",
    "labels": "region_labels",
    "confidence": "region_confidence",
    "attributes": "region_attributes",
    "attribute_confidence": "region_attribute_confidence",
    "box_sizes": "box_sizes",
}

_MAY_BE_NONE = ("dimension", "min_confidence", "max_boxes")


@dataclass(frozen=True)
class Regions:
    """The regions of one picture: N of them, with features F wide and C detector classes.

    features: float32 [N, F]. boxes: float32 [N, 4] x1, y1, x2, y2 in pixels of a picture of `width`
    x `height`; where the source gives shares of the picture only, both are 1.
    class_scores: float32 [N, C] distribution over classes, background first. labels, attributes:
    int64 [N] detector classes, with confidence, attribute_confidence: float32 [N] from 0 to 1.
    box_sizes: float32 [N, 2] width and height of each box as shares of the picture, where the file
    holds them: rounded on their own (UNITER's half precision), they aren't the corners' distances.
    names: N texts. No row stands for the whole picture (ViLBERT's global region).
    """

    features: np.ndarray
    boxes: np.ndarray
    width: int
    height: int
    class_scores: np.ndarray | None = None
    labels: np.ndarray | None = None
    confidence: np.ndarray | None = None
    attributes: np.ndarray | None = None
    attribute_confidence: np.ndarray | None = None
    box_sizes: np.ndarray | None = None
    names: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.features)

    def rows(self, rows: slice | np.ndarray) -> "Regions":
        """Returns the regions of a slice or of row numbers, int [M]."""
        kept = {name: getattr(self, name) for name in PER_REGION}
        chosen = np.arange(len(self))[rows]
        return dataclasses.replace(
            self, **{name: _take(value, chosen) for name, value in kept.items()}
        )

    def contents(self) -> frozenset[str]:
        """Returns the names of the optional fields that are there."""
        return frozenset(name for name in OPTIONAL if getattr(self, name) is not None)

    def fields(self) -> dict[str, Any]:
        """Returns all that is there under the names of this class, which stores know."""
        fields = {name: getattr(self, name) for name in (*PER_REGION, "width", "height")}
        return {name: value for name, value in fields.items() if value is not None}

    def to_record(self) -> dict[str, Any]:
        """Returns the entries of a source's record (docs/data.md)."""
        record = {key: getattr(self, name) for name, key in _RECORD_KEYS.items()}
        record["labels"] = None if self.names is None else list(self.names)
        return {key: value for key, value in record.items() if value is not None}


def _take(value: Any, rows: np.ndarray) -> Any:
    if isinstance(value, tuple):
        return tuple(value[row] for row in rows)
    return value if value is None else value[rows]


@dataclass(frozen=True)
class Rules:
    """What a store expects of its pictures, and which of their regions it gives out.

    dimension: width of the features; None takes that of the first picture.
    global_token: "absent" refuses pictures whose row 0 stands for the whole picture; "first"
        expects such a row and leaves it out (ViLBERT's model makes its own).
    min_confidence, min_boxes, max_boxes: n regions stay, where n counts confidences above
        `min_confidence` (None: all), but is at least `min_boxes` and at most `max_boxes` (None: no
        limit). Source: UNITER `data/data.py`, compute_num_bb.
    order: which n stay: "surest", the surest first (of regions without confidence the first n), or
        "file", the first n as UNITER has it; files of its extractor are in the order of confidence
        where n is less than what they hold.
    boxes: "none" gives every region the whole picture as its box, for files without boxes, which
        VisualBERT does not look at.
    class_scores: False leaves the class distributions out, most of the size of a UNITER picture.
    Where None is allowed "none" is None, as it is written in a shell.
    """

    dimension: int | None = None
    global_token: str = "absent"
    min_confidence: float | None = None
    min_boxes: int = 1
    max_boxes: int | None = None
    order: str = "surest"
    boxes: str = "given"
    class_scores: bool = True

    def __post_init__(self):
        for name in _MAY_BE_NONE:
            if str(getattr(self, name)).lower() == "none":
                object.__setattr__(self, name, None)
        if self.boxes not in ("given", "none"):
            raise ValueError(f'boxes is "{self.boxes}", expected "given" or "none"')
        if self.global_token not in ("absent", "first"):
            raise ValueError(f'global_token is "{self.global_token}", expected "absent" or "first"')
        if self.order not in ("surest", "file"):
            raise ValueError(f'order is "{self.order}", expected "surest" or "file"')
        for name in ("dimension", "min_boxes", "max_boxes"):
            value = getattr(self, name)
            absent = value is None and name in _MAY_BE_NONE
            if not absent and (type(value) is not int or value < 1):
                raise ValueError(f"{name} is {value!r}, expected a whole number from 1 on")
        if self.max_boxes is not None and self.max_boxes < self.min_boxes:
            raise ValueError(f"max_boxes is {self.max_boxes}, less than min_boxes {self.min_boxes}")
        if self.min_confidence is not None and not _is_share(self.min_confidence):
            raise ValueError(f"min_confidence is {self.min_confidence!r}, expected 0 to 1")
        if type(self.class_scores) is not bool:
            raise ValueError(f"class_scores is {self.class_scores!r}, expected true or false")


def _is_share(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= 1
