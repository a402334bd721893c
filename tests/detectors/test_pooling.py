"""Regions are cut out as the original kernels do it, to the bin."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.detectors import oracle
from vlp_jax.detectors.pooling import align_regions, pool_regions

SCALE = 1 / 16
WAYS = {pool_regions: oracle.pool_region, align_regions: oracle.align_region}


def by_picture(way, arrays, bins):
    """Returns the pooled regions [N, C, bins, bins] of rows (picture, box), as the bundles do."""
    rois, maps = arrays["rois"], arrays["roi_features"].transpose(0, 2, 3, 1)
    pooled = [
        way(maps[int(roi[0])], roi[None, 1:], jnp.array(maps.shape[1:3]), bins, SCALE)[0]
        for roi in rois
    ]
    return np.stack(pooled).transpose(0, 3, 1, 2)


@pytest.mark.skipif(not oracle.GOLDENS.is_dir(), reason="the bundles are not here")
@pytest.mark.parametrize(
    "bundle, output, way",
    [
        ("detector-frcnn-a", "roi_pool_14", pool_regions),
        ("detector-frcnn-a", "roi_pool_7", pool_regions),
        ("detector-frcnn-a", "roi_align_14_sampling0", align_regions),
        ("detector-vinvl-a", "roi_align_14", align_regions),
        ("detector-vinvl-a", "roi_align_7", align_regions),
        ("detector-vinvl-a", "roi_align_4", align_regions),
    ],
)
def test_regions_are_the_originals(bundle, output, way):
    given, expected = oracle.unit_arrays(bundle)
    found = by_picture(way, given, int(output.split("_")[2]))
    np.testing.assert_allclose(found, expected[output], atol=0 if way is pool_regions else 2e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bins", [2, 14])
def test_regions_are_the_oracles(way, bins):
    rng = np.random.default_rng()
    grid = rng.normal(size=(9, 13, 2)).astype(np.float32)
    boxes = oracle.random_boxes(rng, 12, 9 * 16, 13 * 16)
    boxes[0] = [-40, -8, 2000, 24]
    found = way(grid, boxes, jnp.array([9, 13]), bins, SCALE)
    expected = [WAYS[way](grid, box, bins, SCALE) for box in boxes]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_what_lies_beyond_the_extent_changes_nothing(way):
    rng = np.random.default_rng()
    grid = rng.normal(size=(6, 8, 3)).astype(np.float32)
    boxes = oracle.random_boxes(rng, 10, 6 * 16, 8 * 16)
    padded = np.full((9, 10, 3), 1e9, np.float32)
    padded[:6, :8] = grid
    extent = jnp.array([6, 8])
    alone = way(grid, boxes, extent, 7, SCALE)
    np.testing.assert_allclose(way(padded, boxes, extent, 7, SCALE), alone, atol=1e-6)


def test_every_size_of_a_region_is_cut_where_float32_division_cuts_it():
    sizes = np.arange(1, 101)
    grid = np.arange(120, dtype=np.float32)[None, :, None]
    boxes = np.stack([0 * sizes, 0 * sizes, 16 * (sizes - 1), 0 * sizes], axis=1)
    found = pool_regions(grid, boxes.astype(np.float32), jnp.array([1, 120]), 14, SCALE)
    ends = np.ceil(np.arange(1, 15, dtype=np.float32) * (sizes[:, None].astype(np.float32) / 14))
    np.testing.assert_array_equal(found[:, 0, :, 0], ends - 1)
