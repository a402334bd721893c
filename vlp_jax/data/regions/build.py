"""Makes `Regions` of the fields of one picture, which published files name in many ways."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlp_jax.config import nearest
from vlp_jax.data.regions.checks import check_distributions, check_regions
from vlp_jax.data.regions.regions import OPTIONAL, Regions, Rules
from vlp_jax.data.regions.rows import choose_rows
from vlp_jax.data.sources.nested_texts import valid_text

NAMES = {
    "features": ("features", "image_features"),
    "boxes": ("boxes", "bbox", "image_bb"),
    "unit_boxes": ("unit_boxes", "norm_bb"),
    "width": ("width", "image_w", "img_w", "image_width"),
    "height": ("height", "image_h", "img_h", "image_height"),
    "count": ("num_boxes", "num_bbox"),
    "class_scores": ("class_scores", "soft_labels", "cls_prob"),
    "labels": ("labels", "objects_id", "objects"),
    "confidence": ("confidence", "objects_conf", "conf"),
    "attributes": ("attributes", "attrs_id"),
    "attribute_confidence": ("attribute_confidence", "attrs_conf"),
    "box_sizes": ("box_sizes",),
    "names": ("names",),
}
"""Our name of a field → the names by which it is known in files, ours first."""

MEANINGS = {known: name for name, names in NAMES.items() for known in names}
"""A name in a file → our name."""

_WHOLE_PICTURE = np.array([0, 0, 1, 1], np.float32)
_SIZE_TOLERANCE = 0.01  # float16 and rounding of box corners


def build_regions(fields: Mapping[str, Any], rules: Rules, dimension: int | None) -> Regions:
    """Returns the checked regions of one picture.

    fields: name in the file → array or number; unknown names are left alone.
    dimension: the width that features must have, None for any.
    Raises ValueError that says what is wrong, but not where.
    """
    ours = _rename(fields)
    if not rules.class_scores:
        ours.pop("class_scores", None)
    features = _matrix("features", _require(ours, "features", fields), np.float32)
    if rules.boxes == "none":
        ours["unit_boxes"] = np.tile(_WHOLE_PICTURE, (len(features), 1))
        ours.pop("boxes", None)
    boxes, width, height, sizes = _boxes(ours, fields)
    if sizes is not None:
        ours.setdefault("box_sizes", sizes)
    _check_count(ours.get("count"), len(features))
    optional = {name: _optional(name, ours[name]) for name in OPTIONAL if name in ours}
    regions = Regions(features, boxes, width, height, **optional)
    check_regions(regions, dimension)
    regions = choose_rows(regions, rules)
    check_distributions(regions.class_scores)
    return regions


def _rename(fields: Mapping[str, Any]) -> dict[str, Any]:
    ours: dict[str, Any] = {}
    for name, value in fields.items():
        meaning = MEANINGS.get(name)
        if meaning in ours:
            raise ValueError(f'two fields hold the {meaning}, one of them is "{name}"')
        if meaning is not None and value is not None:
            ours[meaning] = value
    return ours


def _require(ours: Mapping[str, Any], name: str, fields: Mapping[str, Any]) -> Any:
    if name not in ours:
        known = " or ".join(NAMES[name])
        if name == "boxes":
            known += f' or {" or ".join(NAMES["unit_boxes"])}, or the option boxes = "none"'
        given = list(map(str, fields))
        hint = nearest(name, [field for field in given if field not in MEANINGS])
        raise ValueError(
            f"there are no {name}: the fields are {', '.join(given) or 'none'}, expected "
            f"{known}.{hint.replace('Did you mean', 'Is it')}"
        )
    return ours[name]


def _boxes(
    ours: Mapping[str, Any], fields: Mapping[str, Any]
) -> tuple[np.ndarray, int, int, np.ndarray | None]:
    """Returns boxes in pixels, width and height, and the sizes of boxes where the file has them.

    Width and height are 1 where only shares are known.
    """
    sized = "width" in ours and "height" in ours
    width, height = (integer(name, ours[name]) if sized else 1 for name in ("width", "height"))
    if "unit_boxes" in ours and "boxes" not in ours:
        boxes = _matrix("unit boxes", ours["unit_boxes"], np.float32)
        sizes = boxes[:, 4:6] if boxes.shape[1] >= 6 else None
        pixels = unit_corners(boxes) * np.array([width, height, width, height], np.float32)
        return pixels, width, height, sizes
    boxes = _matrix("boxes", _require(ours, "boxes", fields), np.float32)
    if not sized:
        raise ValueError(
            "boxes are in pixels but the picture's size is missing, expected "
            f"{' or '.join(NAMES['width'])}, and {' or '.join(NAMES['height'])}"
        )
    return boxes, width, height, None


def unit_corners(boxes: np.ndarray) -> np.ndarray:
    """Returns [N, 4] of x1, y1, x2, y2 (, width, height, …) as shares of the picture."""
    if boxes.shape[1] >= 6:
        errors = np.abs(boxes[:, 2:4] - boxes[:, :2] - boxes[:, 4:6]).max(axis=1)
        wrong = ~(errors <= _SIZE_TOLERANCE)  # NaN is wrong as well
        if wrong.any():
            raise ValueError(
                f"a box is {boxes[wrong][0, :6].tolist()}, expected x1, y1, x2, y2, width, height "
                "as shares of the picture"
            )
    if not np.abs(boxes[:, :4]).max(initial=0) <= 1 + _SIZE_TOLERANCE:
        raise ValueError(
            f"boxes as shares of the picture reach to {np.abs(boxes[:, :4]).max():.6g}, expected 0 "
            "to 1"
        )
    return boxes[:, :4]


def _check_count(count: Any, rows: int) -> None:
    if count is not None and integer("num_boxes", count) != rows:
        raise ValueError(f"num_boxes is {count}, but there are {rows} features")


def _optional(name: str, value: Any) -> Any:
    if name == "names":
        if not isinstance(value, list | tuple | np.ndarray):
            raise ValueError(f"names are {value!r:.60}, expected a list of texts")
        return tuple(valid_text(str(text)) for text in value)
    if name in ("class_scores", "box_sizes"):
        return _matrix(name.replace("_", " "), value, np.float32)
    whole = name in ("labels", "attributes")
    array = _numbers(name, value)
    if whole and array.dtype.kind not in "iu":
        raise ValueError(f"{name} are {array.dtype}, expected whole numbers")
    return array.reshape(-1).astype(np.int64 if whole else np.float32, copy=False)


def _matrix(name: str, value: Any, dtype: Any) -> np.ndarray:
    array = _numbers(name, value)
    if array.ndim != 2:
        raise ValueError(f"{name} have shape {list(array.shape)}, expected one row a region")
    return np.ascontiguousarray(array, dtype)


def _numbers(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} hold {array.dtype}, expected numbers")
    return array


def integer(name: str, value: Any) -> int:
    """Returns a whole number, which files also write as text or as an array of one number."""
    try:
        number = np.asarray(value).item()
        if isinstance(number, bytes):
            number = number.decode()
        if int(number) == float(number):
            return int(number)
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError(f"{name} is {value!r:.80}, expected a whole number")
