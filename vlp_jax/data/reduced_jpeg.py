"""JPEGs decoded at the size that is needed: a half, a quarter or an eighth of each side.

libjpeg then computes fewer pixels, each the mean of a square of the whole picture's, and resizing
has fewer to read.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags, Image

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.images import decode, encoded, is_jpeg, jpeg_pixels, opened, resize
from vlp_jax.data.simd_resize import Resize
from vlp_jax.detectors.resampling import Box

Window = tuple[int, int, int, int]
"""Top, left, height and width of a part of a picture, in its pixels."""

MARGIN = 1.5
"""How many pixels of the decoded window there are at least for one of the result, on each side."""

_FLAGS = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


@dataclass(frozen=True)
class ReducedJpeg:
    """A JPEG of which only the header has been read; `shape` is that of the whole picture."""

    data: bytes
    name: str
    shape: tuple[int, int, int]

    def cut(self, window: Window, size: int, resize: Resize = resize) -> np.ndarray:
        """Returns a part of the picture, uint8 [size, size, 3], decoded no larger than needed."""
        top, left, height, width = window
        share = next((n for n in _FLAGS if min(height, width) >= n * size * MARGIN), 1)
        if share == 1:
            pixels = jpeg_pixels(self.data, self.name)
            return resize(pixels[top : top + height, left : left + width], size)
        pixels = jpeg_pixels(self.data, self.name, _FLAGS[share])
        part, box = _part(pixels, np.divide(window, share))
        return resize(part, size, box)


def open_picture(image: np.ndarray | bytes | str | Path, reduce: bool) -> np.ndarray | ReducedJpeg:
    """Returns the pixels of a picture as `decode`, or with `reduce` a JPEG that is not decoded yet.

    One that its EXIF entry turns is decoded, because its header has the other sides.
    """
    if not (reduce and isinstance(image, (str, Path, bytes, bytearray, memoryview))):
        return decode(image)
    data, name = encoded(image)
    if not is_jpeg(data):
        return decode(data, name)
    picture = opened(data, name)
    if _may_be_turned(picture):
        return jpeg_pixels(data, name)
    return ReducedJpeg(data, name, (picture.height, picture.width, 3))


def _may_be_turned(picture: Image.Image) -> bool:
    try:
        with foreign_bytes("EXIF entry"):
            return picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    except ValueError:  # damaged, which decoding passes over
        return True


def _part(pixels: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, Box]:
    """Returns the pixels that a window with sides between pixels touches, and its place in them."""
    top, left = np.floor(window[:2]).astype(int)
    bottom, right = np.ceil(window[:2] + window[2:]).astype(int)
    y, x, height, width = (window - (top, left, 0, 0)).tolist()
    return pixels[top:bottom, left:right], (x, y, x + width, y + height)
