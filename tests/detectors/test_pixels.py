"""Pictures are prepared as each implementation prepares them."""

import numpy as np
import pytest

from tests.detectors.oracle import GOLDENS
from vlp_jax.detectors.pixels import PixelRule, prepare

SMALL = PixelRule(128, 200)
BUNDLE = GOLDENS / "detector-frcnn-a"


def picture(height, width):
    return np.random.default_rng().integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.skipif(not BUNDLE.is_dir(), reason="the bundle is not here")
@pytest.mark.parametrize("channels", ["bgr", "rgb"])
def test_pixels_are_the_originals(channels):
    given = np.load(BUNDLE / "inputs.npz")
    name = "pixel_values" if channels == "bgr" else "pixel_values_upstream_format_bgr"
    for i, (height, width) in enumerate(given["sizes"]):
        made = prepare(given[f"image{i}"], SMALL._replace(channels=channels))
        assert made.pixels.shape == (height, width, 3)
        expected = given[name][i].transpose(1, 2, 0)[:height, :width]
        np.testing.assert_allclose(made.pixels, expected, atol=2e-3)
        np.testing.assert_allclose(np.reciprocal(made.enlarged), given["scales_yx"][i], rtol=1e-6)


@pytest.mark.parametrize(
    "height, width, expected",
    [(90, 120, (128, 171)), (100, 60, (200, 120)), (1, 1, (128, 128)), (7, 300, (5, 200))],
)
def test_the_shorter_side_is_reached_unless_the_longer_one_would_be_too_long(
    height, width, expected
):
    for resize in ("float", "pillow", "opencv"):
        made = prepare(picture(height, width), SMALL._replace(resize=resize))
        assert made.pixels.shape[:2] == expected


def test_one_ratio_for_both_sides_where_sides_are_rounded():
    made = prepare(picture(90, 121), SMALL._replace(resize="opencv"))
    assert made.pixels.shape[:2] == (128, 172) and made.enlarged == (128 / 90, 128 / 90)
    made = prepare(picture(90, 121), SMALL)
    assert made.enlarged == (128 / 90, 172 / 121)


def test_only_pillow_smooths_what_it_shrinks():
    rows = np.zeros((640, 640, 3), np.uint8)
    rows[::2] = 255  # every fifth pixel is read, or the mean of ten rows
    made = {
        resize: prepare(rows, SMALL._replace(resize=resize, mean=(0.0, 0.0, 0.0))).pixels
        for resize in ("float", "pillow", "opencv")
    }
    assert np.ptp(made["pillow"][2:-2]) < 20
    assert np.ptp(made["float"]) > 200 and np.ptp(made["opencv"]) > 200


def test_what_is_left_with_nothing_is_refused():
    with pytest.raises(
        ValueError, match="10000 x 20 pixels is too narrow.*has 0, expected at least 3"
    ):
        prepare(picture(20, 10_000), SMALL)
