"""Pictures as VinVL's detector reads them: sizes, rounding, channels."""

import numpy as np
import pytest

from tests.detectors.oracle import GOLDENS
from vlp_jax.detectors.vinvl_pixels import MEAN, NARROWEST, SLACK, enlarged_size, prepare_vinvl


@pytest.mark.skipif(not GOLDENS.is_dir(), reason="the bundles are not here")
@pytest.mark.parametrize("number", [0, 1])
def test_pixels_are_the_originals_bit_for_bit(number):
    given = np.load(GOLDENS / "detector-vinvl-a" / "inputs.npz")
    height, width = given["sizes"][number]
    expected = given["pixel_values"][number].transpose(1, 2, 0)
    found = prepare_vinvl(given[f"image{number}"], 128, 200)
    np.testing.assert_array_equal(found.pixels, expected[:height, :width])


@pytest.mark.parametrize(
    "height, width, expected",
    [
        (480, 640, (600, 800)),
        (640, 480, (800, 600)),
        (600, 777, (600, 777)),
        (427, 640, (600, 899)),  # 899.3, cut
        (300, 600, (500, 1000)),
        (260, 676, (385, 1001)),  # the shorter side was rounded up
        (1, 1, (600, 600)),
        (3000, 2000, (900, 600)),
    ],
)
def test_the_shorter_side_is_rounded_and_the_longer_one_is_cut(height, width, expected):
    assert enlarged_size(height, width, 600, 1000) == expected


def test_the_longer_side_stays_within_the_slack():
    rng = np.random.default_rng()
    for short, ratio in zip(rng.integers(1, 2000, 500), rng.uniform(1, NARROWEST, 500)):
        size = enlarged_size(int(short), int(short * ratio), 600, 1000)
        assert max(size) <= 1000 + SLACK and min(size) >= 1000 // NARROWEST


def test_channels_are_turned_and_less_the_mean():
    red = np.zeros((600, 600, 3), np.uint8)
    red[..., 0] = 255
    found = prepare_vinvl(red).pixels
    expected = np.broadcast_to(np.float32([0, 0, 255]) - np.float32(MEAN), found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_narrow_picture_is_refused():
    with pytest.raises(ValueError, match="10000 x 20 pixels is too narrow.*500 times"):
        prepare_vinvl(np.zeros((20, 10_000, 3), np.uint8))
