"""Pictures of every format, damaged at random, are decoded or refused; nothing else is raised."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from tests.data.damage import TIMES, damaged
from vlp_jax.data.images import MAX_PIXELS, decode

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
MODES = ("RGB", "RGBA", "L", "P", "1", "I;16", "CMYK", "LA")


def pictures():
    """Returns a small picture in each format and mode that go together, with and without EXIF."""
    exif, found = Image.Exif(), []
    exif[0x0112], exif[0x010E], exif[0x8769] = 6, "words", {0x9286: b"x" * 20}
    pixels = np.random.default_rng().integers(0, 256, (24, 31, 4), dtype=np.uint8)
    for mode, form, more in itertools.product(MODES, FORMATS, ({}, {"exif": exif.tobytes()})):
        stream = io.BytesIO()
        try:
            Image.fromarray(pixels).convert(mode).save(stream, form, **more)
        except (OSError, ValueError):  # this format has no such mode
            continue
        found.append(stream.getvalue())
    return found


def opened(data):
    """Returns the bytes as a Pillow image, or as they are if Pillow does not open them."""
    try:
        return Image.open(io.BytesIO(data))
    except Exception:  # Pillow's own business
        return data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_pictures_are_decoded_or_refused():
    rng, whole, refused = np.random.default_rng(), pictures(), 0
    assert len(whole) > 60
    for data in itertools.islice(itertools.cycle(whole), 4000 * TIMES):
        broken = damaged(data, rng)
        for given in (broken, opened(broken)):
            try:
                pixels = decode(given, "picture 7")
            except ValueError as error:
                refused += 1
                assert str(error).startswith("picture 7") and len(str(error)) < 900
            else:
                assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
                assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    assert 1000 < refused < 7500 * TIMES
