"""Named training augmentations: what happens to a picture, and to its boxes with it."""

from dataclasses import dataclass

import cv2
import numpy as np

from vlp_jax.config import Registry
from vlp_jax.data.boxes import move_boxes
from vlp_jax.data.images import crop_window, resize
from vlp_jax.data.rand_augment import rand_augment
from vlp_jax.data.reduced_jpeg import ReducedJpeg, Window
from vlp_jax.data.simd_resize import Resize

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
    image: np.ndarray | ReducedJpeg,
    boxes: np.ndarray | None,
    size: int,
    rng: np.random.Generator,
    steps: Augmentation,
    resize: Resize = resize,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns (image uint8 [size, size, 3], boxes [N, 4] moved with it, not clipped).

    `image` is uint8 [H, W, 3] or can be cut, `boxes` lie in the unit square or are None, `resize`
    is a function like `images.resize`.
    Source of the order and values: ALBEF `dataset/__init__.py`.
    """
    height, width = image.shape[:2]
    window = 0, 0, height, width
    if steps.crop_scale is not None:
        window = crop_window(height, width, rng, steps.crop_scale)
    image, matrix = _cut(image, window, size, resize), _into(window, height, width)
    if steps.flip and rng.random() < 0.5:
        image = cv2.flip(image, 1)  # NumPy takes 0.4 ms for 256 pixels a side
        matrix = np.array([[-1, 0, 1], [0, 1, 0], [0, 0, 1]]) @ matrix
    if steps.randomise:
        image, warp = rand_augment(image, rng)
        matrix = np.vstack([warp, [0, 0, 1]]) @ matrix
    return image, None if boxes is None else move_boxes(boxes, matrix[:2])


def _cut(image: np.ndarray | ReducedJpeg, window: Window, size: int, resize: Resize) -> np.ndarray:
    """Returns a part of the picture, resized to uint8 [size, size, 3]."""
    if isinstance(image, ReducedJpeg):
        return image.cut(window, size, resize)
    top, left, height, width = window
    return resize(image[top : top + height, left : left + width], size)


def _into(window: Window, height: int, width: int) -> np.ndarray:
    """Returns the map [3, 3] of unit-square points into a window."""
    top, left, h, w = window
    return np.array([[width / w, 0, -left / w], [0, height / h, -top / h], [0, 0, 1]])
