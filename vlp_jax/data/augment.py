"""Named training augmentations: what happens to a picture, and to its boxes with it."""

from dataclasses import dataclass

import numpy as np

from vlp_jax.config import Registry
from vlp_jax.data.boxes import move_boxes
from vlp_jax.data.images import crop_window, resize
from vlp_jax.data.rand_augment import rand_augment

AUGMENTATIONS: Registry = Registry("augmentation")
"""Maps a name to the `Augmentation` it stands for."""


@dataclass(frozen=True)
class Augmentation:
    """Which steps are made, in this order: random resized crop, flip, RandAugment(2, 7).

    crop_scale: smallest and largest share of the area; None resizes the whole picture.
    """

    crop_scale: tuple[float, float] | None = None
    flip: bool = False
    randomise: bool = False


AUGMENTATIONS.register("none")(Augmentation())
AUGMENTATIONS.register("crop")(Augmentation(crop_scale=(0.2, 1.0)))
AUGMENTATIONS.register("crop_flip")(Augmentation(crop_scale=(0.2, 1.0), flip=True))
AUGMENTATIONS.register("albef")(Augmentation((0.2, 1.0), flip=True, randomise=True))
AUGMENTATIONS.register("albef_finetune")(Augmentation((0.5, 1.0), flip=True, randomise=True))
AUGMENTATIONS.register("albef_grounding")(Augmentation(None, flip=True, randomise=True))


def augment(
    image: np.ndarray,
    boxes: np.ndarray | None,
    size: int,
    rng: np.random.Generator,
    steps: Augmentation,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns (image uint8 [size, size, 3], boxes [N, 4] moved with it, not clipped).

    `image` is uint8 [H, W, 3], `boxes` lie in the unit square or are None.
    Source of the order and values: ALBEF `dataset/__init__.py`.
    """
    matrix = np.eye(3)
    if steps.crop_scale is not None:
        image, matrix = _crop(image, rng, steps.crop_scale)
    image = resize(image, size)
    if steps.flip and rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        matrix = np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    if steps.randomise:
        image, warp = rand_augment(image, rng)
        matrix = np.vstack([warp, [0, 0, 1]]) @ matrix
    return image, None if boxes is None else move_boxes(boxes, matrix[:2])


def _crop(
    image: np.ndarray, rng: np.random.Generator, scale: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a random crop and the map [3, 3] of unit-square points into it."""
    height, width = image.shape[:2]
    top, left, h, w = crop_window(height, width, rng, scale)
    matrix = np.array([[width / w, 0, -left / w], [0, height / h, -top / h], [0, 0, 1]])
    return image[top : top + h, left : left + w], matrix
