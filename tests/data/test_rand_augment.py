"""Tests of RandAugment's operations, on literal pixels, and of its draws."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from vlp_jax.data.rand_augment import PIXEL_OPERATIONS, WARPS, rand_augment


@pytest.fixture
def image():
    return np.random.default_rng().integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_the_ten_operations_of_albef():
    assert {*PIXEL_OPERATIONS, *WARPS} == {
        "identity", "auto_contrast", "equalize", "brightness", "sharpness",
        "shear_x", "shear_y", "translate_x", "translate_y", "rotate",
    }  # fmt: skip


def test_pixel_operations(image):
    np.testing.assert_array_equal(PIXEL_OPERATIONS["identity"](image, 7), image)
    for name in ("brightness", "sharpness"):
        np.testing.assert_array_equal(PIXEL_OPERATIONS[name](image, 5), image)  # factor 1
    brighter = PIXEL_OPERATIONS["brightness"](image, 7)
    np.testing.assert_allclose(brighter, np.clip(image * 1.36, 0, 255), atol=1)
    ramp = np.repeat(np.linspace(50, 150, 20).astype(np.uint8)[:, None, None], 3, axis=2)
    stretched = PIXEL_OPERATIONS["auto_contrast"](ramp, 7)
    assert (stretched.min(), stretched.max()) == (0, 255)
    equal = PIXEL_OPERATIONS["equalize"](image // 3, 7)
    assert equal.max() > 200 > 86 > (image // 3).max() and equal.dtype == np.uint8


PILLOWS = {
    "auto_contrast": lambda picture, factor: ImageOps.autocontrast(picture),
    "equalize": lambda picture, factor: ImageOps.equalize(picture),
    "brightness": lambda picture, factor: ImageEnhance.Brightness(picture).enhance(factor),
    "sharpness": lambda picture, factor: ImageEnhance.Sharpness(picture).enhance(factor),
}


@pytest.mark.parametrize("name", PILLOWS)
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 9), (40, 50)])
def test_pixel_operations_are_those_of_pillow(name, shape):
    rng = np.random.default_rng()
    for low, high in ((0, 256), (100, 103), (0, 2), (77, 78)):
        image = rng.integers(low, high, (*shape, 3), dtype=np.uint8)
        for level in (0, 3.3, 5, 7, 10):
            expected = PILLOWS[name](Image.fromarray(image), level / 10 * 1.8 + 0.1)
            np.testing.assert_array_equal(PIXEL_OPERATIONS[name](image, level), expected)


def test_values_that_equalisation_would_push_beyond_white():
    image = np.zeros((30, 30, 3), np.uint8)
    image.reshape(-1, 3)[:511] = 1  # 511 of 900 in steps of 1: the table reaches 511
    image.reshape(-1, 3)[511:] = np.arange(389)[:, None] % 200 + 2
    expected = ImageOps.equalize(Image.fromarray(image))
    np.testing.assert_array_equal(PIXEL_OPERATIONS["equalize"](image, 7), expected)


def test_sharpening_does_not_wrap_around():
    image = np.full((9, 9, 3), 250, np.uint8)
    image[4, 4] = 255
    image[2] = 0
    out = PIXEL_OPERATIONS["sharpness"](image, 10)
    assert out[4, 4].min() == 255 and out[2, 4].max() == 0


def test_warps_are_the_published_sizes():
    np.testing.assert_allclose(WARPS["shear_x"](7, 30, 20), [[1, 0.21, 0], [0, 1, 0]])
    np.testing.assert_allclose(WARPS["translate_y"](-7, 30, 20), [[1, 0, 0], [0, 1, 7]])
    turn = WARPS["rotate"](7, 30, 20)
    np.testing.assert_allclose(np.degrees(np.arccos(turn[0, 0])), 21)
    np.testing.assert_allclose(turn @ [15, 10, 1], [15, 10])


def test_whole_shifts_move_pixels_unchanged(monkeypatch, image):
    for name in {*PIXEL_OPERATIONS, *WARPS} - {"translate_x"}:
        table = PIXEL_OPERATIONS if name in PIXEL_OPERATIONS else WARPS
        monkeypatch.delitem(table, name)
    outs = [rand_augment(image, np.random.default_rng(seed), count=1)[0] for seed in range(40)]
    left, right = np.full((2, *image.shape), 128, np.uint8)
    left[:, :-7], right[:, 7:] = image[:, 7:], image[:, :-7]
    seen = [[np.array_equal(out, one) for one in (image, left, right)] for out in outs]
    assert np.all(np.sum(seen, 1) == 1) and np.all(np.sum(seen, 0) > 3)


def test_the_matrix_says_where_pixels_went(monkeypatch):
    for name in PIXEL_OPERATIONS:  # they would change the mark's colour
        monkeypatch.setitem(PIXEL_OPERATIONS, name, lambda image, level: image)
    for seed in range(60):
        image = np.zeros((100, 100, 3), np.uint8)
        image[40:45, 60:65] = 255
        out, matrix = rand_augment(image, np.random.default_rng(seed))
        ys, xs = np.nonzero(out[..., 0] > 200)
        centre = [(xs.mean() + 0.5) / 100, (ys.mean() + 0.5) / 100]
        np.testing.assert_allclose(centre, matrix @ [0.625, 0.425, 1], atol=0.015)


def test_half_of_the_operations_are_left_out(image):
    rng = np.random.default_rng(0)
    once = [rand_augment(image, rng, count=1)[0] for _ in range(400)]
    same = np.mean([np.array_equal(out, image) for out in once])
    assert 0.47 < same < 0.63  # half, and a tenth of the other half is the identity
    original = image.copy()
    rand_augment(image, rng, count=10)
    np.testing.assert_array_equal(image, original)
