"""Accepts images as users hold them: PIL images, paths, encoded bytes and arrays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vlp_jax.data.images import decode, resize


def image_batch(images: Any, size: int) -> np.ndarray:
    """Returns uint8 [N, size, size, 3] of one image or a sequence of images.

    An image is a path, encoded bytes, a PIL image, or an array [H, W], [H, W, 3] or [H, W, 4].
    Raises ValueError or FileNotFoundError that says which image is wrong.
    """
    return np.stack([resize(_decoded(image, i), size) for i, image in enumerate(listed(images))])


def listed(values: Any) -> list:
    """Returns one value as a list of one, and a sequence of values as a list."""
    if isinstance(values, np.ndarray):
        return list(values) if values.ndim == 4 else [values]
    if isinstance(values, Sequence) and not isinstance(values, (str, bytes)):
        if not values:
            raise ValueError("an empty list was given; expected at least one image or text")
        return list(values)
    return [values]


def _decoded(image: Any, index: int) -> np.ndarray:
    if isinstance(image, Path):
        image = str(image)
    if isinstance(image, Image.Image):
        image = _pil_pixels(image)
    if not isinstance(image, (str, bytes, np.ndarray)):
        raise ValueError(
            f"image {index} is a {type(image).__name__}; expected a path, bytes, a PIL image or an "
            "array [H, W, 3]"
        )
    return decode(image)


def _pil_pixels(image: Image.Image) -> np.ndarray:
    """Returns the pixels that decoding the image's file gives: upright, with alpha and 16 bits."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16)
    transparent = "A" in image.getbands() or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if transparent else "RGB"))
