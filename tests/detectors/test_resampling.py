"""Tests of resampling against what the versions of Pillow before 13 gave."""

import numpy as np
import pytest
from PIL import Image

from vlp_jax.detectors.resampling import resampled


@pytest.mark.parametrize(
    "by, shape, red",
    [
        ("BICUBIC", (3, 3), [[108, 128, 101], [138, 66, 58], [138, 54, 99]]),
        ("BILINEAR", (3, 2), [[116, 105, 85], [135, 62, 85]]),
    ],
)
def test_pixels_are_those_of_the_versions_that_models_were_published_with(by, shape, red):
    """What one call of Pillow 12.3 gives; that of 13 gives 107, 102 and 84 among them."""
    image = np.random.default_rng(3).integers(0, 256, (9, 4, 3), dtype=np.uint8)
    assert resampled(image, shape, Image.Resampling[by])[..., 0].tolist() == red
