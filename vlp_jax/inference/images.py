"""Accepts images as users hold them: PIL images, paths, encoded bytes and arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vlp_jax.data.images import decode, resize

PICTURE_ENDINGS = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2",
)  # fmt: skip
_ONE = (str, bytes, bytearray, memoryview)  # sequences that are one value


def image_batch(images: Any, size: int) -> np.ndarray:
    """Returns uint8 [N, size, size, 3] of one image or a sequence of images.

    An image is a path, encoded bytes, a PIL image, or an array [H, W], [H, W, 3] or [H, W, 4].
    Raises ValueError or FileNotFoundError that says which image is wrong.
    """
    named = ((f"image {index}", image) for index, image in enumerate(listed(images)))
    return np.stack([resize(decode(image, name), size) for name, image in named])


def names_picture(value: Any) -> bool:
    """Tells whether a value is a text that ends as the names of image files do."""
    return isinstance(value, str) and value.lower().endswith(PICTURE_ENDINGS)


def listed(values: Any) -> list:
    """Returns one value as a list of one, and a sequence of values as a list."""
    if isinstance(values, np.ndarray):
        return list(values) if values.ndim == 4 else [values]
    if isinstance(values, Sequence) and not isinstance(values, _ONE):
        if not values:
            raise ValueError("an empty list was given; expected at least one image or text")
        return list(values)
    return [values]
