"""Pictures as Pillow images, and what may be in arrays: the pixels that their files would give."""

import numpy as np
from PIL import Image, ImageOps

_EIGHT_BITS = frozenset("1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV".split())
_SIXTEEN_BITS = "I;16"  # with the order of bytes behind it


def pillow_pixels(image: Image.Image) -> np.ndarray:
    """Returns the pixels of a Pillow image, upright: uint8 [H, W, 3 or 4] or uint16 [H, W].

    ValueError for modes whose numbers have no agreed range: floats ("F"), whole numbers of 32 bits
    ("I", except those of a PNG file, which are of 16) and the like.
    """
    of_png = image.format == "PNG"  # which turning forgets
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(_SIXTEEN_BITS) or (image.mode == "I" and of_png):
        return np.asarray(image).astype(np.uint16)
    if image.mode not in _EIGHT_BITS:
        raise ValueError(
            f'the Pillow image has mode "{image.mode}", whose numbers have no agreed range: scale '
            'them to 0 to 255 and convert it to "L" or "RGB" first'
        )
    transparent = "A" in image.getbands() or "a" in image.getbands()
    transparent = transparent or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if transparent else "RGB"))


def check_numbers(pixels: np.ndarray) -> None:
    """Raises ValueError for an array of other numbers than 8 or 16 bits, which says what to do.

    Also for 16 bits of which the upper eight are empty: such pictures would be black.
    """
    what = f"the array is {pixels.dtype} {list(pixels.shape)}"
    if pixels.dtype == np.uint16 and 0 < pixels.max(initial=0) < 256:
        raise ValueError(f"{what} and reaches to {pixels.max()} of 65535; convert it to uint8")
    if pixels.dtype in (np.uint8, np.uint16):
        return
    if pixels.dtype.kind == "f" and pixels.size:
        if not np.isfinite(pixels).all():
            raise ValueError(f"{what} and holds numbers that are not finite")
        low, high = float(pixels.min()), float(pixels.max())
        scale = "multiply by 255, round and " if 0 <= low and high <= 1 else ""
        what += f" from {low:g} to {high:g}; {scale}convert it to uint8"
    raise ValueError(f"{what}, expected uint8 or uint16")
