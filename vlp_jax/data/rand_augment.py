"""RandAugment without colour changes, as ALBEF trains with it (`dataset/randaugment.py`)."""

import functools
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image, ImageEnhance

LEVELS = 10
_FILL = (128, 128, 128)

PixelOperation = Callable[[np.ndarray, float], np.ndarray]
Warp = Callable[[float, int, int], np.ndarray]


def _factor(level: float) -> float:
    """Returns the enhancement factor: 0.1 at level 0, 1 (no change) at 5, 1.9 at 10."""
    return level / LEVELS * 1.8 + 0.1


def _auto_contrast(image: np.ndarray) -> np.ndarray:
    """Stretches each channel to 0..255, as Pillow's `ImageOps.autocontrast`."""
    seen = _counts(image) > 0
    low, high = seen.argmax(1)[:, None], 255 - seen[:, ::-1].argmax(1)[:, None]
    scale = 255.0 / np.maximum(high - low, 1)
    tables = (np.arange(256) * scale + -low * scale).clip(0, 255)  # in Pillow's order of sums
    return _through_tables(image, np.where(high > low, tables, np.arange(256)))


def _equalize(image: np.ndarray) -> np.ndarray:
    """Spreads the values of each channel evenly, as Pillow's `ImageOps.equalize`."""
    counts = _counts(image)
    brightest = 255 - (counts > 0)[:, ::-1].argmax(1)[:, None]
    total = counts.sum(1, keepdims=True) - np.take_along_axis(counts, brightest, 1)
    step = total // 255
    darker = counts.cumsum(1) - counts
    tables = (darker + step // 2) // np.maximum(step, 1)
    return _through_tables(image, np.where(step > 0, tables.clip(0, 255), np.arange(256)))


def _counts(image: np.ndarray) -> np.ndarray:
    """Returns how often each value occurs in each channel, int64 [3, 256]."""
    counts = [cv2.calcHist([image], [channel], None, [256], (0, 256)) for channel in range(3)]
    return np.stack(counts).reshape(3, 256).astype(np.int64)


def _through_tables(image: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Returns the pixels with every value looked up in its channel's table, [3, 256]."""
    return cv2.LUT(image, np.ascontiguousarray(tables.T[None].astype(np.uint8)))


@functools.cache
def _brightness_table(factor: float) -> np.ndarray:
    """Returns what Pillow makes of each value, uint8 [1, 256]."""
    values = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    return np.array(ImageEnhance.Brightness(values).enhance(factor))


def _sharpen(image: np.ndarray, factor: float) -> np.ndarray:
    """Moves pixels away from their smoothed values, as Pillow's `ImageEnhance.Sharpness`."""
    smooth = Image.fromarray(_smooth(image))
    return np.array(Image.blend(smooth, Image.fromarray(image), factor))


def _smooth(image: np.ndarray) -> np.ndarray:
    """Returns weighted means of 3 x 3 pixels, and border pixels as they are (`ImageFilter.SMOOTH`).

    Sums are whole numbers and 13 is odd, so that no mean lies between two values.
    """
    weights = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32)
    smooth = image.copy()
    sums = cv2.filter2D(image, cv2.CV_16S, weights)
    smooth[1:-1, 1:-1] = cv2.convertScaleAbs(sums, alpha=1 / 13)[1:-1, 1:-1]
    return smooth


PIXEL_OPERATIONS: dict[str, PixelOperation] = {
    "identity": lambda image, level: image,
    "auto_contrast": lambda image, level: _auto_contrast(image),
    "equalize": lambda image, level: _equalize(image),
    "brightness": lambda image, level: cv2.LUT(image, _brightness_table(_factor(level))),
    "sharpness": lambda image, level: _sharpen(image, _factor(level)),
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
            image = _warped(image, warp)
            matrix = np.vstack([warp, [0, 0, 1]]) @ matrix
    scale = np.array([width, height, 1.0])
    return image, (matrix * scale / scale[:, None])[:2]


def _warped(image: np.ndarray, warp: np.ndarray) -> np.ndarray:
    """Returns the pixels moved; whole numbers move them without mixing, which is quicker."""
    whole = np.array_equal(warp, np.round(warp))
    return cv2.warpAffine(
        image,
        warp,
        image.shape[1::-1],
        flags=cv2.INTER_NEAREST if whole else cv2.INTER_LINEAR,
        borderValue=_FILL,
    )
