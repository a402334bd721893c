"""Anchors are those of the published detectors, around every cell in their order."""

import numpy as np
import pytest

from tests.detectors.oracle import GOLDENS, unit_arrays
from vlp_jax.detectors.anchors import centred_anchors, grid_anchors, integer_anchors

RATIOS = (0.5, 1.0, 2.0)
MAKERS = {
    "detector-frcnn-a": (centred_anchors, (64, 128, 256, 512), (24, 48, 80, 128)),
    "detector-vinvl-a": (integer_anchors, (32, 64, 128, 256, 512), (24, 48, 80, 128, 160)),
}


@pytest.mark.parametrize("bundle", MAKERS)
@pytest.mark.parametrize("which", ["published", "bundle"])
def test_anchors_are_the_originals(bundle, which):
    if not (GOLDENS / bundle).is_dir():
        pytest.skip("the bundle is not here")
    make, published, small = MAKERS[bundle]
    cell = make(published if which == "published" else small, RATIOS)
    _, outputs = unit_arrays(bundle)
    np.testing.assert_allclose(cell, outputs[f"anchors_cell_{which}"], atol=3e-5)
    np.testing.assert_allclose(grid_anchors(cell, 5, 7), outputs[f"anchors_5x7_{which}"], atol=3e-5)


def test_anchors_have_the_area_and_the_shape_they_are_named_after():
    anchors = centred_anchors((10, 40), (0.25, 4.0))
    width, height = (anchors[:, 2:] - anchors[:, :2]).T
    np.testing.assert_allclose(width * height, [100, 100, 1600, 1600], rtol=1e-6)
    np.testing.assert_allclose(height / width, [0.25, 4, 0.25, 4], rtol=1e-6)


def test_a_cell_to_the_right_and_one_below_have_the_same_anchors_sixteen_pixels_on():
    cell = integer_anchors((32, 64), RATIOS)
    grid = np.asarray(grid_anchors(cell, 2, 3)).reshape(2, 3, 6, 4)
    np.testing.assert_array_equal(grid[0, 1] - grid[0, 0], np.tile([16, 0, 16, 0], (6, 1)))
    np.testing.assert_array_equal(grid[1, 0] - grid[0, 0], np.tile([0, 16, 0, 16], (6, 1)))
