"""Pixels: decoding to 8-bit RGB, resizing, random crops, and normalisation constants."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from vlp_jax.data.buckets import bucket_path, is_bucket
from vlp_jax.data.foreign import foreign_bytes, shortened
from vlp_jax.data.paths import file_bytes, is_address
from vlp_jax.data.picture_objects import check_numbers, pillow_pixels
from vlp_jax.detectors.resampling import Box, resampled

cv2.setNumThreads(0)  # the pipeline has threads of its own; nested ones only fight over cores
Image.core.set_blocks_max(4)  # Pillow keeps memory for the next picture, of 16 MB a block at most

NORMALISATIONS = {
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""(mean, std) per channel of pixels scaled to 0..1; ALBEF uses CLIP's."""


MAX_PIXELS = 89_478_485
"""Pictures of more are refused before they are decoded: 256 MiB as RGB, Pillow's own limit."""

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")


def decode(image: np.ndarray | bytes | str | Path | Image.Image, name: str = "") -> np.ndarray:
    """Returns uint8 [H, W, 3] RGB of an array, encoded bytes, a path or a Pillow image.

    Grey is repeated, alpha is laid on white, 16 bits become 8 and EXIF orientation is applied.
    FileNotFoundError for a path that does not exist; ValueError for a picture that can't be read,
    has more than MAX_PIXELS pixels or numbers of no agreed range. Messages begin with `name`,
    which is by default the file or what kind of object it is.
    """
    if isinstance(image, (str, Path, bytes, bytearray, memoryview)):
        return _decode_bytes(*encoded(image, name))
    if isinstance(image, np.ndarray):
        return _to_rgb(image, name or "image array")
    if isinstance(image, Image.Image):
        name = name or "Pillow image"
        check_size(*image.size, name)
        with foreign_bytes(name):
            return _to_rgb(pillow_pixels(image), name)
    kind = type(image).__name__
    raise ValueError(
        f"{name or 'image'} is a {kind}, expected a path, bytes, a Pillow image or an array "
        "[H, W, 3]"
    )


def encoded(image: bytes | str | Path, name: str = "") -> tuple[bytes, str]:
    """Returns the bytes of an encoded picture, and what messages call it; errors as in `decode`."""
    if not isinstance(image, (str, Path)):
        data = bytes(image)
        return data, name or f"image of {len(data)} bytes"
    return _read(image, name)


def _read(path: str | Path, name: str) -> tuple[bytes, str]:
    file = f'"{shortened(str(path))}"'
    name = f"{name} ({file})" if name else f"image file {file}"
    if isinstance(path, str) and is_address(path) and not is_bucket(path):
        raise ValueError(f"{name} is an address; local files and gs:// and s3:// buckets are read")
    try:
        data = file_bytes(bucket_path(path, "image file") if is_bucket(path) else Path(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"{name} does not exist") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{name} cannot be read: {reason}") from None
    return data, name


def check_size(width: int, height: int, name: str) -> None:
    """Raises ValueError for a picture without pixels, or with more than MAX_PIXELS."""
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"{name} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are decoded"
        )
    if width < 1 or height < 1:
        raise ValueError(f"{name} has no pixels: it is {width} x {height}")


def _decode_bytes(data: bytes, name: str) -> np.ndarray:
    """Decodes with OpenCV; OpenCV applies EXIF orientation only where it drops alpha."""
    picture = opened(data, name)
    if is_jpeg(data):
        return jpeg_pixels(data, name)
    with foreign_bytes(_damaged(name)):
        if b"eXIf" in data or b"EXIF" in data:
            pixels = pillow_pixels(picture)
        else:
            pixels = _opencv_pixels(data, cv2.IMREAD_UNCHANGED)
    return _to_rgb(pixels, name)


def is_jpeg(data: bytes) -> bool:
    """Says whether an encoded picture is a JPEG, by how it begins."""
    return data[:2] == b"\xff\xd8"


def jpeg_pixels(data: bytes, name: str, flags: int = cv2.IMREAD_COLOR) -> np.ndarray:
    """Returns uint8 [H, W, 3] RGB of a JPEG; `flags` of OpenCV may ask for a smaller picture."""
    with foreign_bytes(_damaged(name)):
        pixels = _opencv_pixels(data, flags)
    return _to_rgb(pixels, name)


def _damaged(name: str) -> str:
    return f"{name} is corrupt, cut short or not a picture"


def opened(data: bytes, name: str) -> Image.Image:
    """Returns a picture of which only the header has been read; ValueError if it is too large."""
    if not data:
        raise ValueError(f"{name} is empty")
    damaged = _damaged(name)
    with foreign_bytes(damaged):
        try:
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        except Image.DecompressionBombError:  # Pillow looks at the size as well
            picture = None
        except UnidentifiedImageError:  # whose message is the address of an object
            raise ValueError(damaged) from None
    if picture is None:
        raise ValueError(f"{name} has many more pixels than the {MAX_PIXELS:,} that are decoded")
    check_size(*picture.size, name)
    return picture


def _opencv_pixels(data: bytes, flags: int) -> np.ndarray:
    """Returns pixels in the order RGB or RGBA, or grey."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("its pixels can't be decoded")
    if pixels.ndim == 3:
        order = cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB
        pixels = cv2.cvtColor(pixels, order)
    return pixels


def _to_rgb(pixels: np.ndarray, name: str) -> np.ndarray:
    """Returns uint8 [H, W, 3] of grey, RGB or RGBA pixels of 8 or 16 bits."""
    with foreign_bytes(name):
        check_numbers(pixels)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"{name} is {pixels.dtype} {list(pixels.shape)}, expected [H, W], [H, W, 1], "
            "[H, W, 3] or [H, W, 4]"
        )
    check_size(pixels.shape[1], pixels.shape[0], name)
    if pixels.shape[2] == 1:
        return np.repeat(pixels, 3, axis=2)
    return _on_white(pixels) if pixels.shape[2] == 4 else pixels


def _on_white(rgba: np.ndarray) -> np.ndarray:
    """Lays RGBA pixels on a white ground."""
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def resize(image: np.ndarray, size: int, box: Box | None = None) -> np.ndarray:
    """Returns uint8 [size, size, 3], bicubic with a = -0.5 and smoothing when it shrinks.

    As the published pipelines (torchvision on PIL pictures); OpenCV's filter has another kernel and
    does not smooth, which changes results. `box` is the part that is shown.
    """
    if box is None and image.shape[:2] == (size, size):
        return image
    return resampled(image, (size, size), Image.Resampling.BICUBIC, box)


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
