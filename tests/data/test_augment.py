"""Tests of the named augmentations: sizes, and boxes that follow the picture."""

from dataclasses import replace

import numpy as np
import pytest

from vlp_jax.data.augment import AUGMENTATIONS, augment
from vlp_jax.data.boxes import visible_boxes


@pytest.mark.parametrize("name", ["none", "crop", "crop_flip", "albef", "albef_grounding"])
def test_boxes_follow_a_bright_rectangle(name):
    steps = AUGMENTATIONS.get_known(name)
    if steps.randomise:  # equalised or sharpened pixels would hide the rectangle
        steps = replace(steps, randomise=False)
    for seed in range(20):
        image = np.zeros((60, 80, 3), np.uint8)
        image[20:40, 30:60] = 255
        box = np.array([[30 / 80, 20 / 60, 60 / 80, 40 / 60]], np.float32)
        out, boxes = augment(image, box, 64, np.random.default_rng(seed), steps)
        assert out.shape == (64, 64, 3) and out.dtype == np.uint8 and out.flags.c_contiguous
        clipped, visible = visible_boxes(boxes)
        if not visible[0]:
            continue
        ys, xs = np.nonzero(out[..., 0] > 127)
        seen = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(clipped[0] * 64, seen, atol=1.1)


def test_flips_happen_half_the_time_only_where_asked():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4] = 255
    flip = replace(AUGMENTATIONS["none"], flip=True)
    rng = np.random.default_rng(0)
    flips = np.mean([augment(image, None, 8, rng, flip)[0][0, 0, 0] == 0 for _ in range(400)])
    assert 0.4 < flips < 0.6


def test_evaluation_is_a_plain_resize():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    out, boxes = augment(image, None, 8, np.random.default_rng(0), AUGMENTATIONS["none"])
    assert np.array_equal(out, image) and boxes is None


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match='Did you mean "crop_flip"'):
        AUGMENTATIONS.get_known("cropflip")
