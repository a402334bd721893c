"""Tests of images as users hold them: all forms of one picture give the same pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from vlp_jax.inference.images import image_batch, listed

RNG = np.random.default_rng()
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def palette_with_hole() -> Image.Image:
    """A palette picture whose first colour is transparent."""
    image = Image.fromarray(PIXELS).quantize(8)
    image.info["transparency"] = 0
    return image


PICTURES = {
    "rgb": Image.fromarray(PIXELS),
    "alpha": Image.fromarray(np.dstack([PIXELS, PIXELS[..., :1]])),
    "grey": Image.fromarray(PIXELS[..., 0]),
    "grey and alpha": Image.fromarray(PIXELS[..., :2], "LA"),
    "palette": Image.fromarray(PIXELS).quantize(8),
    "palette and alpha": palette_with_hole(),
    "sixteen bits": Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257),
    "black and white": Image.fromarray(PIXELS[..., 0]).convert("1"),
}


@pytest.mark.parametrize("image", PICTURES.values(), ids=PICTURES)
def test_every_form_of_a_picture_gives_the_same_pixels(image, tmp_path):
    data = encoded(image)
    path = tmp_path / "picture.png"
    path.write_bytes(data)
    forms = [image, path, str(path), data, Image.open(path)]
    batch = image_batch(forms, 8)
    assert batch.shape == (5, 8, 8, 3) and batch.dtype == np.uint8
    for other in batch[1:]:
        np.testing.assert_array_equal(other, batch[0])


def test_a_turned_photograph_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    tall = Image.fromarray(np.repeat(np.repeat(PIXELS, 16, 0), 16, 1))
    path = tmp_path / "turned.jpg"
    path.write_bytes(encoded(tall, "JPEG", exif=exif, quality=95))
    from_path, from_pil = image_batch([path, Image.open(path)], 16)
    # Two JPEG decoders may differ by a little, an unturned picture by a lot.
    assert np.abs(from_path.astype(int) - from_pil).mean() < 2
    unturned = image_batch(np.asarray(tall), 16)[0]
    assert np.abs(from_path.astype(int) - unturned).mean() > 20


def test_arrays(tmp_path):
    grey = PIXELS[..., 0]
    one = image_batch(PIXELS, 6)
    assert one.shape == (1, 6, 6, 3)
    four = image_batch(np.stack([PIXELS] * 4), 6)
    assert four.shape == (4, 6, 6, 3) and (four == one).all()
    np.testing.assert_array_equal(image_batch(grey, 6), image_batch(Image.fromarray(grey), 6))
    np.testing.assert_array_equal(image_batch((PIXELS, PIXELS), 6)[1], one[0])


def test_one_value_is_a_list_of_one():
    assert listed("text") == ["text"] and listed(b"data") == [b"data"]
    assert len(listed(bytearray(b"data"))) == 1 and len(listed(memoryview(b"data"))) == 1
    assert listed(("a", "b")) == ["a", "b"]
    assert len(listed(PIXELS)) == 1 and len(listed(PIXELS[None])) == 1


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ([], ValueError, "an empty list was given; expected at least one image or text"),
        ([PIXELS, 7], ValueError, "image 1 is a int, expected a path, bytes, a Pillow image or an"),
        (None, ValueError, "image 0 is a NoneType"),
        (PIXELS.astype(float), ValueError, "float64.*expected uint8"),
        (PIXELS.astype(np.uint16), ValueError, "reaches to .* of 65535; convert it to uint8"),
        (Image.fromarray(np.full((3, 4), 0.5, np.float32)), ValueError, 'mode "F", whose numbers'),
        ("gone.png", FileNotFoundError, r'image 0 \("gone.png"\) does not exist'),
        (b"no picture", ValueError, "image 0 is corrupt, cut short or not a picture"),
        (np.zeros((0, 4, 3), np.uint8), ValueError, "has no pixels"),
        (np.zeros((2, 2, 2, 3, 1), np.uint8), ValueError, r"expected \[H, W\], \[H, W, 1\]"),
    ],
)
def test_what_is_no_image(images, error, message):
    with pytest.raises(error, match=message):
        image_batch(images, 8)
