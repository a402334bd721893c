"""Pixels: decoding to 8-bit RGB, resizing, random crops, and normalisation constants."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

cv2.setNumThreads(0)  # the pipeline has threads of its own; nested ones only fight over cores

NORMALISATIONS = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""(mean, std) per channel of pixels scaled to 0..1; ALBEF uses CLIP's."""


def decode(image: np.ndarray | bytes | str | Path) -> np.ndarray:
    """Returns uint8 [H, W, 3] RGB of an array, encoded bytes or a path.

    Grey is repeated, alpha is laid on white, 16 bits become 8 and EXIF orientation is applied.
    ValueError (naming the file) for a picture that can't be read, FileNotFoundError for a path
    that does not exist.
    """
    if isinstance(image, (str, Path)):
        return _decode_file(Path(image))
    if isinstance(image, (bytes, bytearray, memoryview)):
        return _decode_bytes(bytes(image), f"image of {len(image)} bytes")
    if isinstance(image, np.ndarray):
        return _to_rgb(image, "image array")
    raise ValueError(f"image is a {type(image).__name__}, expected an array, bytes or a path")


def _decode_file(path: Path) -> np.ndarray:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f'image file "{path}" does not exist') from None
    except OSError as error:
        raise ValueError(f'image file "{path}" cannot be read: {error.strerror}') from None
    return _decode_bytes(data, f'image file "{path}"')


def _decode_bytes(data: bytes, name: str) -> np.ndarray:
    """Decodes with OpenCV; OpenCV applies EXIF orientation only where it drops alpha."""
    if not data:
        raise ValueError(f"{name} is empty")
    jpeg = data[:2] == b"\xff\xd8"
    if not jpeg and (b"eXIf" in data or b"EXIF" in data):
        return _decode_with_orientation(data, name)
    try:
        flags = cv2.IMREAD_COLOR if jpeg else cv2.IMREAD_UNCHANGED
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"{name} cannot be decoded: {error.err}") from None
    if pixels is None:
        raise ValueError(f"{name} is corrupt, cut short or not a picture")
    if pixels.ndim == 3:
        order = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        pixels = cv2.cvtColor(pixels, order)
    return _to_rgb(pixels, name)


def _decode_with_orientation(data: bytes, name: str) -> np.ndarray:
    """Decodes a PNG, WebP or TIFF that carries EXIF, which may come with alpha as well."""
    try:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if picture.mode.startswith("I"):
            return _to_rgb(np.asarray(picture).astype(np.uint16), name)
        return _to_rgb(np.asarray(picture.convert("RGBA")), name)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is corrupt, cut short or not a picture: {error}") from None


def _to_rgb(pixels: np.ndarray, name: str) -> np.ndarray:
    """Returns uint8 [H, W, 3] of grey, RGB or RGBA pixels of 8 or 16 bits."""
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"{name} is {pixels.dtype} {list(pixels.shape)}, expected uint8 or uint16 "
            "[H, W], [H, W, 1], [H, W, 3] or [H, W, 4]"
        )
    if 0 in pixels.shape:
        raise ValueError(f"{name} has no pixels: its shape is {list(pixels.shape)}")
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return _on_white(pixels) if pixels.shape[2] == 4 else pixels


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """Lays RGBA pixels on a white ground."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def resize(image: np.ndarray, size: int) -> np.ndarray:
    """Returns uint8 [size, size, 3], bicubic with a = -0.5 and smoothing when it shrinks.

    Pillow's filter, as in the published pipelines (torchvision on PIL pictures); OpenCV's has
    another kernel and does not smooth, which changes results.
    """
    if image.shape[:2] == (size, size):
        return image
    return np.array(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def crop_window(
    height: int,
    width: int,
    rng: np.random.Generator,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """Returns top, left, height, width of a random crop, as torchvision's RandomResizedCrop.

    The area is uniform in `scale` (share of the picture), the aspect ratio log-uniform in
    `ratio`; after ten draws that do not fit, a centre crop with the nearest allowed ratio.
    """
    for area, aspect in zip(rng.uniform(*scale, 10), np.exp(rng.uniform(*np.log(ratio), 10))):
        w = round(float(np.sqrt(height * width * area * aspect)))
        h = round(float(np.sqrt(height * width * area / aspect)))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(0, height - h + 1))
            return top, int(rng.integers(0, width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - h) // 2, (width - w) // 2, max(h, 1), max(w, 1)
