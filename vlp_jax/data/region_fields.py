"""The region fields of an example: features, boxes and classes, masked, padded to fixed shapes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.boxes import box_iou, unit_boxes, visible_boxes
from vlp_jax.data.entry import take
from vlp_jax.data.region_pixels import crop_features
from vlp_jax.data.transforms import Example, Stage, Transform

CLASS_FIELDS = {
    "region_classes": ("region_labels", "region_confidence"),
    "region_class_scores": ("region_class_scores",),
}
"""What a source provides → the fields of its records, and of the batch, that hold it."""

# Fields that a record with region classes may have as well.
_ATTRIBUTE_FIELDS = ("region_attributes", "region_attribute_confidence")
_INTEGERS = ("region_labels", "region_attributes")
_WHOLE_IMAGE = np.array([0, 0, 1, 1, 1, 1, 1], np.float32)  # corners, width, height, area


@dataclass(frozen=True)
class Regions:
    """The regions of one picture before they are padded.

    fields: batch field → array with one row a region.
    kept: which of the record's regions these are, int [N].
    hidden: which of them a task hides, bool [N], or None.
    overlap: see `RegionMasking`.
    """

    fields: dict[str, np.ndarray]
    kept: np.ndarray
    hidden: np.ndarray | None = None
    overlap: float | None = None

    @property
    def features(self) -> np.ndarray | None:
        """float32 [N, F], or None where the source gives none and no pixels are cut out."""
        return self.fields.get("region_features")


@dataclass(frozen=True)
class RegionReader:
    """Reads the regions of a record.

    slots: most regions of a picture. A detector's surest are kept, the surest first; of regions
        without confidence the first.
    pixels: side to which each box of a picture is resized to be its feature; 0 makes none.
    """

    slots: int
    pixels: int = 0

    def of_picture(
        self, record: Mapping[str, Any], image: np.ndarray, boxes: np.ndarray, provides: frozenset
    ) -> Regions:
        """Returns the regions that are still visible in an augmented picture.

        `image` is uint8 [H, W, 3], `boxes` [N, 4] lie in the unit square, moved along with it.
        """
        count = len(boxes)
        boxes, visible = visible_boxes(boxes)
        kept = np.flatnonzero(visible)[: self.slots]
        fields = {"region_boxes": boxes[kept].astype(np.float32)}
        if self.pixels:
            fields["region_features"] = crop_features(image, fields["region_boxes"], self.pixels)
            fields |= _classes(record, provides, kept, count)
        return Regions(fields, kept)

    def of_detector(self, record: Mapping[str, Any], provides: frozenset) -> Regions:
        """Returns the regions that a detector found; ValueError if its fields misfit.

        Boxes have seven numbers (corners, width, height, area) where the record has "box_sizes":
        these are rounded on their own and are not the distances of the corners (UNITER).
        """
        boxes = unit_boxes(*(take(record, name) for name in ("boxes", "width", "height")))
        kept = self._kept(record, len(boxes))
        features = _rows(record, "region_features", kept, len(boxes))
        if features.ndim != 2 or not np.isfinite(features).all():
            raise ValueError(
                f"region_features are {list(features.shape)}, expected finite numbers [N, F]"
            )
        if record.get("box_sizes") is not None:
            boxes = np.concatenate([boxes, _sizes_and_area(record, len(boxes))], axis=1)
        fields = {"region_boxes": boxes[kept], "region_features": features}
        return Regions(fields | _classes(record, provides, kept, len(boxes)), kept)

    def _kept(self, record: Mapping[str, Any], count: int) -> np.ndarray:
        if count <= self.slots or record.get("region_confidence") is None:
            return np.arange(min(count, self.slots))
        confidence = _rows(record, "region_confidence", np.arange(count), count)
        return np.argsort(-confidence, kind="stable")[: self.slots]


@dataclass(frozen=True)
class RegionFields(Transform):
    """Pads the regions of an example to `slots` rows.

    global_region: puts a region before the others whose feature is their mean and whose box is the
        whole picture, so that an example has one region more (ViLBERT).
    """

    slots: int
    global_region: bool = False

    stage = Stage.SHAPES

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        regions = example["regions"]
        fields = self._with_global(regions) if self.global_region else regions.fields
        slots = self.slots + self.global_region
        padded = {name: _padded(values, slots) for name, values in fields.items()}
        return padded | {"region_mask": np.arange(slots) < len(fields["region_boxes"])}

    def _with_global(self, regions: Regions) -> dict[str, np.ndarray]:
        """Puts the whole picture's region first; it has no class and is never hidden."""
        fields = regions.fields
        first = {"region_boxes": _WHOLE_IMAGE[: fields["region_boxes"].shape[1]]}
        count = len(regions.kept)
        hidden = np.zeros(count, np.bool_) if regions.hidden is None else regions.hidden
        if regions.features is not None:
            first["region_features"] = global_feature(
                regions.features, fields["region_boxes"][:, :4], hidden, regions.overlap
            )
        if "region_targets" in fields:
            first["region_targets"] = fields["region_targets"].sum(0) / max(count, 1)
        return {
            name: np.concatenate([_first_row(first.get(name), values), values])
            for name, values in fields.items()
        }


def _first_row(value: np.ndarray | None, like: np.ndarray) -> np.ndarray:
    row = np.zeros((1, *like.shape[1:]), like.dtype)
    if value is not None:
        row[0] = value
    return row


def _padded(values: np.ndarray, slots: int) -> np.ndarray:
    if len(values) == slots:
        return values
    padded = np.zeros((slots, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


def _classes(
    record: Mapping[str, Any], provides: frozenset, kept: np.ndarray, count: int
) -> dict[str, np.ndarray]:
    """Returns the class fields that the source provides, of the regions kept."""
    names = [name for entry in CLASS_FIELDS if entry in provides for name in CLASS_FIELDS[entry]]
    if "region_classes" in provides:
        names += [name for name in _ATTRIBUTE_FIELDS if record.get(name) is not None]
    return {name: _rows(record, name, kept, count) for name in names}


def _sizes_and_area(record: Mapping[str, Any], count: int) -> np.ndarray:
    """Returns width, height and their product, float32 [N, 3], as the file holds them."""
    sizes = _rows(record, "box_sizes", np.arange(count), count)
    return np.concatenate([sizes, sizes.prod(axis=1, keepdims=True)], axis=1)


def _rows(record: Mapping[str, Any], name: str, kept: np.ndarray, count: int) -> np.ndarray:
    """Returns the kept rows of a record's entry, which must have one for each of `count` boxes."""
    values = np.asarray(take(record, name), np.int32 if name in _INTEGERS else np.float32)
    if values.shape[:1] != (count,):
        raise ValueError(
            f'the record has {count} boxes, and "{name}" of shape {list(values.shape)}'
        )
    return values if len(kept) == count else values[kept]


def global_feature(
    shown: np.ndarray, boxes: np.ndarray, hidden: np.ndarray, overlap: float | None
) -> np.ndarray:
    """Returns the feature [F] of the region that stands for the whole image (ViLBERT).

    The sum of all features shown over the number of regions that count, see `RegionMasking`: the
    second release leaves those that overlap a hidden one out of the number and not of the sum.
    """
    counted = len(shown)
    if overlap is not None and hidden.any():
        counted -= int((box_iou(boxes[:, None], boxes[None, hidden]) > overlap).any(axis=1).sum())
    return shown.sum(axis=0) / max(counted, 1)
