"""Tests of cutting region features out of pictures."""

import numpy as np
import pytest

from vlp_jax.data.images import NORMALISATIONS
from vlp_jax.data.region_pixels import crop_features

MEAN, STD = (np.array(values) for values in NORMALISATIONS["clip"])


def pixels_of(features, side):
    """Undoes the normalisation: [N, 3·side²] → 0..255 [N, side, side, 3]."""
    return (features.reshape(-1, side, side, 3) * STD + MEAN) * 255


def test_a_box_of_the_sides_size_is_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    boxes = np.array([[10, 5, 14, 9], [36, 16, 40, 20], [0, 0, 4, 4]]) / [40, 20, 40, 20]
    features = crop_features(image, boxes.astype(np.float32), 4)
    assert features.shape == (3, 48) and features.dtype == np.float32
    shown = pixels_of(features, 4)
    np.testing.assert_allclose(shown[0], image[5:9, 10:14], atol=1e-3)
    np.testing.assert_allclose(shown[1], image[16:20, 36:40], atol=1e-3)
    np.testing.assert_allclose(shown[2], image[0:4, 0:4], atol=1e-3)


def test_shrinking_averages_areas():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :4] = 200
    image[4:, 4:, 1] = 100
    features = crop_features(image, np.array([[0, 0, 1, 1]], np.float32), 1)
    np.testing.assert_allclose(pixels_of(features, 1)[0, 0, 0], [50, 75, 50], atol=1)


@pytest.mark.parametrize("box", [[0.5, 0.5, 0.5, 0.5], [1, 1, 1, 1], [0, 0, 0, 1]])
def test_a_box_without_area_covers_a_pixel_at_least(box):
    image = np.full((10, 10, 3), 77, np.uint8)
    features = crop_features(image, np.array([box], np.float32), 3)
    np.testing.assert_allclose(pixels_of(features, 3), 77, atol=1e-3)


def test_no_boxes_give_no_rows():
    assert crop_features(np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4)), 5).shape == (0, 75)
