"""Boxes are decoded, cut and compared as in the implementation that a convention names."""

import numpy as np
import pytest

from tests.detectors.oracle import GOLDENS, overlap, random_boxes, unit_arrays
from vlp_jax.detectors.boxes import (
    CAFFE,
    INCLUSIVE,
    PLAIN,
    clip,
    decode,
    encode,
    large_enough,
    overlapping,
    overlaps,
)

BUNDLES = {"detector-frcnn-a": PLAIN, "detector-vinvl-a": INCLUSIVE}
HEAD = (10.0, 10.0, 5.0, 5.0)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_boxes_are_the_originals(bundle):
    if not (GOLDENS / bundle).is_dir():
        pytest.skip("the bundle is not here")
    sides, (given, expected) = BUNDLES[bundle], unit_arrays(bundle)
    boxes, deltas = given["decode_boxes"][:, None], given["decode_deltas"].reshape(14, 3, 4)
    size = given["clip_hw"] if "clip_hw" in given else given["clip_wh"][::-1]
    for name, weights in (("decode_rpn", (1.0,) * 4), ("decode_head", HEAD)):
        found = np.asarray(decode(boxes, deltas, weights, sides)).reshape(14, 12)
        np.testing.assert_allclose(found, expected[name], rtol=2e-6, atol=5e-3)
    cut = clip(decode(boxes, deltas, HEAD, sides).reshape(-1, 4), size.astype(float), sides)
    np.testing.assert_allclose(cut, expected["decode_head_clipped"], atol=2e-4)


def test_small_boxes_are_the_originals():
    if not (GOLDENS / "detector-vinvl-a").is_dir():
        pytest.skip("the bundle is not here")
    given, expected = unit_arrays("detector-vinvl-a")
    boxes = given["small_boxes"]
    for least in (0, 1, 5):
        kept = boxes[np.asarray(large_enough(boxes, least, INCLUSIVE))]
        np.testing.assert_array_equal(kept, expected[f"remove_small_{least}"])


def test_an_empty_box_is_too_small_only_where_ends_are_points():
    boxes = np.float32([[3, 3, 3, 9], [3, 3, 4, 4]])
    assert large_enough(boxes, 0.0, PLAIN).tolist() == [False, True]
    assert large_enough(boxes, 0.0, INCLUSIVE).tolist() == [True, True]


def test_a_delta_of_nothing_gives_the_anchor_back_or_one_pixel_more_in_caffe():
    boxes, nothing = np.float32([[2, 4, 21, 13]]), np.zeros((1, 4), np.float32)
    np.testing.assert_allclose(decode(boxes, nothing, HEAD, PLAIN), boxes)
    np.testing.assert_allclose(decode(boxes, nothing, HEAD, INCLUSIVE), boxes)
    np.testing.assert_allclose(decode(boxes, nothing, HEAD, CAFFE), boxes + [[0, 0, 1, 1]])


def test_a_box_grows_to_a_thousand_sixteenths_and_no_further():
    boxes, grow = np.float32([[0, 0, 16, 32]]), np.float32([[0, 0, 50, 50]])
    found = np.asarray(decode(boxes, grow))[0]
    np.testing.assert_allclose(found[2:] - found[:2], [1000, 2000], rtol=1e-5)


@pytest.mark.parametrize("sides", [PLAIN, INCLUSIVE])
def test_overlaps_are_the_oracles(sides):
    rng = np.random.default_rng()
    boxes = random_boxes(rng, 40, 30, 40)
    pairs = [[overlap(a, b, sides.pixel) for b in boxes] for a in boxes]
    clear = np.abs(np.array(pairs) - 0.3) > 1e-4
    found = np.asarray(overlapping(boxes, 0.3, sides))
    np.testing.assert_array_equal(found[clear], (np.array(pairs) > 0.3)[clear])


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.6, 0.7])
def test_an_overlap_that_is_the_threshold_rounded_up_is_above_it(threshold):
    wide = np.float32([[0, 0, 10, 1], [0, 0, 10 * threshold, 1]])
    share = np.float32(10 * threshold) / np.float32(10)
    assert bool(overlapping(wide, threshold)[0, 1]) == (float(share) > threshold)


def test_encoded_boxes_decode_to_themselves():
    rng = np.random.default_rng()
    corners = rng.uniform(0, 60, (2, 50, 2))
    anchors, boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (2, 50, 2))], -1)
    np.testing.assert_allclose(
        decode(anchors, encode(anchors, boxes, HEAD), HEAD), boxes, atol=1e-4
    )


def test_the_deltas_of_a_box_twice_as_wide_and_moved_by_its_height():
    anchors, boxes = np.float32([[10, 10, 20, 30]]), np.float32([[5, 30, 25, 50]])
    wanted = [[0, 10, 5 * np.log(2), 0]]
    np.testing.assert_allclose(encode(anchors, boxes, HEAD), wanted, atol=1e-6)


def test_two_lists_overlap_as_the_oracle_says():
    rng = np.random.default_rng()
    first, second = random_boxes(rng, 20, 30, 40), random_boxes(rng, 7, 30, 40)
    wanted = [[overlap(a, b) for b in second] for a in first]
    np.testing.assert_allclose(np.nan_to_num(overlaps(first, second)), wanted, atol=1e-6)
