"""Suppression keeps exactly the boxes that going through them one by one keeps."""

import jax
import numpy as np
import pytest

from tests.detectors import oracle
from vlp_jax.detectors.boxes import INCLUSIVE, PLAIN
from vlp_jax.detectors.suppression import suppress, suppress_by_class


def tied_scores(rng, count):
    return rng.integers(0, max(2, count // 2), count).astype(np.float32)


@pytest.mark.parametrize("sides", [PLAIN, INCLUSIVE])
@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_it_is_the_oracles(threshold, sides):
    rng = np.random.default_rng()
    boxes = np.round(oracle.random_boxes(rng, 60, 20, 20))
    scores, mask = tied_scores(rng, 60), rng.random(60) < 0.8
    # A threshold no ratio of small whole numbers equals, so that rounding decides nothing.
    threshold += 1e-4
    expected = oracle.suppress(boxes, scores, mask, threshold, sides.pixel)
    np.testing.assert_array_equal(suppress(boxes, scores, mask, threshold, sides), expected)


def test_a_long_chain_frees_every_second_box():
    steps = np.arange(50, dtype=np.float32)
    boxes = np.stack([steps, 0 * steps, steps + 2, 0 * steps + 1], axis=1)
    kept = suppress(boxes, -steps, np.ones(50, bool), 0.2)
    np.testing.assert_array_equal(kept, steps % 2 == 0)


def test_classes_are_apart():
    rng = np.random.default_rng()
    boxes = np.round(oracle.random_boxes(rng, 30, 20, 20))
    scores = np.stack([tied_scores(rng, 30) for _ in range(5)], axis=1)
    mask = rng.random(30) < 0.8
    expected = [oracle.suppress(boxes, column, mask, 0.3001) for column in scores.T]
    found = jax.jit(lambda *given: suppress_by_class(*given, 0.3001))(boxes, scores, mask)
    np.testing.assert_array_equal(found, np.stack(expected, axis=1))


@pytest.mark.skipif(not oracle.GOLDENS.is_dir(), reason="the bundles are not here")
def test_it_is_the_originals():
    given, expected = oracle.unit_arrays("detector-frcnn-a")
    cases = [("nms", f"nms_keep_{t}", t) for t in (0.3, 0.5, 0.7)]
    for name, output, threshold in [*cases, ("nms_equal", "nms_equal_keep_0.5", 0.5)]:
        boxes, scores = given[f"{name}_boxes"], given[f"{name}_scores"]
        kept = np.flatnonzero(suppress(boxes, scores, np.ones(len(boxes), bool), threshold))
        ordered = kept[np.argsort(-scores[kept], kind="stable")]
        np.testing.assert_array_equal(ordered, expected[output])
