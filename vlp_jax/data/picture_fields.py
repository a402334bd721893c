"""The picture of a record, augmented, with the regions that can be seen on it."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlp_jax.data.augment import AUGMENTATIONS, Augmentation, augment
from vlp_jax.data.boxes import unit_boxes
from vlp_jax.data.entry import take
from vlp_jax.data.reduced_jpeg import open_picture
from vlp_jax.data.region_fields import RegionReader, Regions
from vlp_jax.data.simd_resize import Resize, resizer
from vlp_jax.data.transforms import Example, Stage, Transform

# The draw of the record whose regions are shown in place of others.
FOREIGN_REGIONS = 1


@dataclass(frozen=True)
class PictureFields(Transform):
    """Makes `image_id`, `image` and the note "regions", each where the source gives one.

    Another note, "foreign_features", gives the features [N, F] of another image's regions.

    provides: what the source gives. size: side of the picture in pixels.
    augment: a name in AUGMENTATIONS, used in training only; `flip=False` takes the flip out,
        which is needed where captions say left and right.
    regions: reads regions.
    reduce: decodes large JPEGs at a smaller size, in training only.
    resize: a name that `resizer` knows, of what resizes in training; else Pillow does.
    """

    provides: frozenset[str]
    size: int
    augment: str = "none"
    flip: bool = True
    regions: RegionReader = RegionReader(36)
    train: bool = True
    reduce: bool = False
    resize: str = "pillow"

    stage = Stage.PICTURE

    def __post_init__(self) -> None:
        AUGMENTATIONS.get_known(self.augment, "config.data.augment")
        resizer(self.resize)

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, Any]:
        image, regions = self._picture(example.record, rng)
        made: dict[str, Any] = {"image_id": _image_id(example.record)}
        if image is not None:
            made["image"] = image
        if regions is not None:
            made["regions"] = regions
            foreign = lambda: self._picture(example.others(FOREIGN_REGIONS), rng)[1].features
            made["foreign_features"] = foreign
        return made

    def _picture(
        self, record: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray | None, Regions | None]:
        """Returns the augmented picture and the regions, each None where there is none.

        A detector's boxes belong to the whole picture and do not follow its augmentation.
        """
        image = boxes = regions = None
        if "image" in self.provides or "regions" in self.provides:
            image = open_picture(take(record, "image"), self.reduce and self.train)
            if self._boxes_move:
                height, width = image.shape[:2]
                boxes = unit_boxes(take(record, "boxes"), width, height)
            image, boxes = augment(image, boxes, self.size, rng, self._steps, self._resize)
        if boxes is not None:
            regions = self.regions.of_picture(record, image, boxes, self.provides)
        elif "region_features" in self.provides:
            regions = self.regions.of_detector(record, self.provides)
        return image, regions

    @property
    def _boxes_move(self) -> bool:
        return "regions" in self.provides and "region_features" not in self.provides

    @functools.cached_property
    def _steps(self) -> Augmentation:
        steps = AUGMENTATIONS[self.augment if self.train else "none"]
        return replace(steps, flip=steps.flip and self.flip)

    @property
    def _resize(self) -> Resize:
        return resizer(self.resize if self.train else "pillow")


def _image_id(record: Mapping[str, Any]) -> np.ndarray:
    identity = int(take(record, "image_id"))
    if not -(2**31) <= identity < 2**31:
        raise ValueError(f"image_id {identity} does not fit 32 bits")
    return np.int32(identity)
