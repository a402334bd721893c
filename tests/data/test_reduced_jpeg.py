"""Tests of JPEGs decoded at reduced size: the same part of a picture, and nearly its pixels."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.data.chains import chain
from tests.data.fakes import png
from vlp_jax.data.augment import AUGMENTATIONS, augment
from vlp_jax.data.images import decode
from vlp_jax.data.reduced_jpeg import ReducedJpeg, open_picture


def photograph(height, width, seed=0):
    """Returns a picture of soft blobs, hard edges and grain, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
    for _ in range(20):
        y, x = rng.integers(0, (height, width))
        picture[y : y + height // 6, x : x + width // 8] += rng.normal(0, 50, 3)
    return np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def jpeg(pixels):
    return png(pixels, ".jpg")


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((first.astype(float) - second) ** 2))


@pytest.mark.parametrize("height, width", [(1200, 1600), (1001, 777)])
@pytest.mark.parametrize("name", ["none", "crop_flip", "albef_grounding"])
def test_pixels_are_nearly_those_of_the_whole_picture(name, height, width):
    data, box = jpeg(photograph(height, width)), np.array([[0.2, 0.1, 0.7, 0.6]], np.float32)
    for seed in range(5):
        full, reduced = (
            augment(open_picture(data, reduce), box, 96, np.random.default_rng(seed),
                    AUGMENTATIONS[name])
            for reduce in (False, True)
        )  # fmt: skip
        assert np.array_equal(full[1], reduced[1])  # the window is the same
        assert reduced[0].shape == (96, 96, 3) and reduced[0].dtype == np.uint8
        assert 36 < psnr(full[0], reduced[0]) < 70  # it was decoded at another size


def test_a_shifted_window_would_be_seen():
    picture = open_picture(jpeg(photograph(1200, 1600)), True)
    full = decode(picture.data)[301:901, 501:1101]
    expected = np.array(Image.fromarray(full).resize((128, 128), Image.Resampling.BICUBIC))
    right, shifted = (picture.cut((301, left, 600, 600), 128) for left in (501, 503))
    assert psnr(expected, right) > 38 and psnr(expected, right) > psnr(expected, shifted) + 3


@pytest.mark.parametrize("side, share", [(191, 1), (192, 2), (384, 4), (768, 8), (2000, 8)])
def test_the_window_keeps_half_as_many_pixels_again_as_are_needed(side, share, monkeypatch):
    asked = []

    def pixels(data, name, flags=cv2.IMREAD_COLOR):
        asked.append(flags)
        return np.zeros((2000 // share, 2000 // share, 3), np.uint8)

    monkeypatch.setattr("vlp_jax.data.reduced_jpeg.jpeg_pixels", pixels)
    picture = ReducedJpeg(b"", "x", (2000, 2000, 3))
    assert picture.cut((0, 0, side, 2000), 64).shape == (64, 64, 3)
    assert asked == [{1: cv2.IMREAD_COLOR, 2: 17, 4: 33, 8: 65}[share]]


def test_pictures_that_are_small_turned_or_no_jpeg_are_decoded_whole(tmp_path):
    pixels = photograph(400, 600)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=_turned())
    turned = open_picture(tmp_path / "a.jpg", True)
    assert turned.shape == (600, 400, 3) and np.array_equal(turned, decode(tmp_path / "a.jpg"))
    assert np.array_equal(open_picture(png(pixels), True), pixels)
    assert open_picture(pixels, True) is pixels
    small = open_picture(jpeg(pixels), True)
    expected, _ = augment(decode(small.data), None, 384, None, AUGMENTATIONS["none"])
    assert np.array_equal(small.cut((0, 0, 400, 600), 384), expected)


def _turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_damaged_pictures_are_named_as_in_full():
    data = jpeg(photograph(400, 600))
    for damaged in (b"", b"\xff\xd8junk"):
        with pytest.raises(ValueError) as full:
            open_picture(damaged, False)
        with pytest.raises(ValueError) as reduced:
            open_picture(damaged, True)
        assert str(full.value) == str(reduced.value)
    with pytest.raises(FileNotFoundError, match='^image file "/none.jpg" does not exist$'):
        open_picture("/none.jpg", True)
    assert open_picture(data, True).shape == (400, 600, 3)


def test_only_training_reads_at_reduced_size():
    record = {"image": jpeg(photograph(400, 600)), "image_id": 1}
    shown = {}
    for train in (True, False):
        for how in ("full", "reduced"):
            made = chain(provides={"image"}, train=train, decode=how)
            shown[train, how] = made(record, np.random.default_rng(0))["image"]
    assert not np.array_equal(shown[True, "full"], shown[True, "reduced"])
    assert np.array_equal(shown[False, "full"], shown[False, "reduced"])
