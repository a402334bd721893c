"""Tests of resizing with SIMD: Pillow's pixels but for rounding, in training alone."""

import sys

import numpy as np
import pytest

from tests.data.chains import chain
from tests.data.fakes import png
from tests.data.test_reduced_jpeg import jpeg, photograph
from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import check_names
from vlp_jax.data.augment import AUGMENTATIONS, augment
from vlp_jax.data.images import resize
from vlp_jax.data.reduced_jpeg import open_picture
from vlp_jax.data.simd_resize import resizer, simd_resize


@pytest.fixture
def library():
    """Skips a test where the extra is not installed."""
    return pytest.importorskip("cykooz_resizer")


def apart(first, second):
    """Returns by how much values differ at most, and how many of them do."""
    difference = np.abs(first.astype(int) - second)
    return difference.max(), np.mean(difference > 0)


@pytest.mark.parametrize("height, width", [(480, 640), (640, 427), (97, 60), (96, 200), (41, 96)])
def test_pixels_are_pillows_but_for_rounding(library, height, width):
    picture = photograph(height, width)
    made = simd_resize(picture, 96)
    most, share = apart(made, resize(picture, 96))
    assert most <= 2 and share < 0.01
    assert made.shape == (96, 96, 3) and made.dtype == np.uint8 and made.flags.writeable


@pytest.mark.parametrize("height, width", [(1, 1), (1, 7), (2, 300), (3, 3)])
def test_tiny_pictures(library, height, width):
    picture = np.random.default_rng().integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert apart(simd_resize(picture, 16), resize(picture, 16))[0] <= 2


def test_a_picture_of_the_size_is_itself(library):
    picture = photograph(96, 96)
    assert simd_resize(picture, 96) is picture


def test_parts_with_sides_between_pixels(library):
    picture, box = photograph(300, 400), (30.5, 7.25, 391.75, 270.5)
    most, share = apart(simd_resize(picture, 64, box), resize(picture, 64, box))
    assert most <= 2 and share < 0.01


@pytest.mark.parametrize("reduce", [False, True])
def test_windows_are_those_of_pillow(library, reduce):
    picture = open_picture(jpeg(photograph(600, 800)), reduce)
    box = np.array([[0.2, 0.1, 0.7, 0.6]])
    for seed in range(5):
        draw = lambda resize: augment(
            picture, box, 64, np.random.default_rng(seed), AUGMENTATIONS["crop_flip"], resize
        )
        (first, boxes), (second, same_boxes) = draw(simd_resize), draw(resize)
        assert np.array_equal(boxes, same_boxes)
        assert np.abs(first.astype(int) - second).mean() < 0.3


def test_only_training_resizes_with_it(library):
    record = {"image": png(photograph(400, 600)), "image_id": 1}
    shown = {}
    for train in (True, False):
        for name in ("pillow", "simd"):
            made = chain(provides={"image"}, train=train, resize=name, image_size=112)
            shown[train, name] = made(record, np.random.default_rng(0))["image"]
    most, share = apart(shown[True, "pillow"], shown[True, "simd"])
    assert 1 <= most <= 2 and 0 < share < 0.01
    assert np.array_equal(shown[False, "pillow"], shown[False, "simd"])


def test_a_missing_library_is_said_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    with pytest.raises(ValueError, match=r'^config.data.resize = "simd" needs .*vlp_jax\[simd\]'):
        check_names(DataConfig(resize="simd"))
    with pytest.raises(ValueError, match="cykooz-resizer"):
        chain(provides={"image"}, resize="simd")
    assert resizer("pillow") is resize
