"""RandAugment without colour changes, as ALBEF trains with it (`dataset/randaugment.py`)."""

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageEnhance, ImageOps

LEVELS = 10
_FILL = (128, 128, 128)

PixelOperation = Callable[[np.ndarray, float], np.ndarray]
Warp = Callable[[float, int, int], np.ndarray]


def _through_pillow(change: Callable[[Image.Image, float], Image.Image]) -> PixelOperation:
    return lambda image, level: np.array(change(Image.fromarray(image), level))


def _factor(level: float) -> float:
    """Returns the enhancement factor: 0.1 at level 0, 1 (no change) at 5, 1.9 at 10."""
    return level / LEVELS * 1.8 + 0.1


PIXEL_OPERATIONS: dict[str, PixelOperation] = {
    "identity": lambda image, level: image,
    "auto_contrast": _through_pillow(lambda image, level: ImageOps.autocontrast(image)),
    "equalize": _through_pillow(lambda image, level: ImageOps.equalize(image)),
    "brightness": _through_pillow(
        lambda image, level: ImageEnhance.Brightness(image).enhance(_factor(level))
    ),
    "sharpness": _through_pillow(
        lambda image, level: ImageEnhance.Sharpness(image).enhance(_factor(level))
    ),
}
"""Operations on pixel values, (image, level) -> image; the level has no sign."""

WARPS: dict[str, Warp] = {
    "shear_x": lambda level, w, h: np.array([[1, 0.3 * level / LEVELS, 0], [0, 1, 0]]),
    "shear_y": lambda level, w, h: np.array([[1, 0, 0], [0.3 * level / LEVELS, 1, 0]]),
    "translate_x": lambda level, w, h: np.array([[1, 0, -10 * level / LEVELS], [0, 1, 0]]),
    "translate_y": lambda level, w, h: np.array([[1, 0, 0], [0, 1, -10 * level / LEVELS]]),
    "rotate": lambda level, w, h: cv2.getRotationMatrix2D((w / 2, h / 2), 30 * level / LEVELS, 1),
}
"""Affine warps, (signed level, width, height) -> [2, 3] in pixels; shifts are 10 pixels at most."""


def rand_augment(
    image: np.ndarray, rng: np.random.Generator, count: int = 2, level: float = 7
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (image uint8 [H, W, 3], matrix [2, 3]) after `count` random operations.

    They are drawn with replacement and each is applied half the time. The matrix tells where
    warps moved unit-square points (x, y, 1). Border pixels are grey (128). Sharpened values are
    clipped, where the original lets them wrap around 8 bits.
    """
    names = [*PIXEL_OPERATIONS, *WARPS]
    height, width = image.shape[:2]
    matrix = np.eye(3)
    for choice in rng.integers(0, len(names), count):
        apply, positive = rng.random(2) < 0.5
        name = names[choice]
        if not apply:
            continue
        if name in PIXEL_OPERATIONS:
            image = PIXEL_OPERATIONS[name](image, level)
        else:
            warp = WARPS[name](level if positive else -level, width, height)
            image = cv2.warpAffine(image, warp, (width, height), borderValue=_FILL)
            matrix = np.vstack([warp, [0, 0, 1]]) @ matrix
    scale = np.array([width, height, 1.0])
    return image, (matrix * scale / scale[:, None])[:2]
