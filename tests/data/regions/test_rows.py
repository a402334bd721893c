"""Which rows are kept: ViLBERT's global row, and UNITER's selection by confidence."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.regions.pictures import random_regions
from vlp_jax.data.regions.regions import Regions, Rules
from vlp_jax.data.regions.rows import choose_rows


def with_global(regions: Regions, dtype=np.float32) -> Regions:
    mean = regions.features.mean(0, keepdims=True).astype(dtype).astype(np.float32)
    box = np.array([[0, 0, regions.width, regions.height]], np.float32)
    features = np.concatenate([mean, regions.features])
    return Regions(features, np.concatenate([box, regions.boxes]), regions.width, regions.height)


@pytest.fixture
def regions():
    return random_regions(np.random.default_rng())


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_global_row_is_left_out_or_refused(regions, dtype):
    whole = with_global(regions, dtype)
    kept = choose_rows(whole, Rules(global_token="first"))
    np.testing.assert_array_equal(kept.features, regions.features)
    np.testing.assert_array_equal(kept.boxes, regions.boxes)
    with pytest.raises(ValueError, match='row 0 is a global region: .*set global_token = "first"'):
        choose_rows(whole, Rules())


def test_an_expected_global_row_must_be_one(regions):
    rules = Rules(global_token="first")
    with pytest.raises(ValueError, match="the first box is not the picture"):
        choose_rows(regions, rules)
    whole = with_global(regions)
    whole.features[0, 0] += 3
    with pytest.raises(ValueError, match="the first feature is not the mean of the others"):
        choose_rows(whole, rules)
    assert len(choose_rows(whole, Rules())) == 6  # an object that fills the picture


def test_one_region_or_empty_features_are_not_global():
    box = np.array([[0, 0, 9, 9]], np.float32)
    for rows in (1, 3):
        picture = Regions(np.zeros((rows, 4), np.float32), np.tile(box, (rows, 1)), 9, 9)
        assert len(choose_rows(picture, Rules())) == rows


@given(
    confidence=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30),
    threshold=st.none() | st.floats(0, 1),
    least=st.integers(1, 12),
    more=st.none() | st.integers(0, 12),
)
def test_selection_is_uniters(confidence, threshold, least, more):
    most = None if more is None else least + more
    conf = np.array(sorted(confidence, reverse=True), np.float32)
    picture = Regions(np.ones((len(conf), 2), np.float32), np.zeros((len(conf), 4)), 9, 9)
    picture = Regions(picture.features, picture.boxes, 9, 9, confidence=conf)
    kept = choose_rows(picture, Rules(None, "absent", threshold, least, most))
    # compute_num_bb, and no more than there are
    wanted = len(conf) if threshold is None else int((conf > threshold).sum())
    wanted = max(least, wanted)
    wanted = wanted if most is None else min(most, wanted)
    assert len(kept) == min(wanted, len(conf)) >= 1
    assert kept.confidence.tolist() == conf[: len(kept)].tolist()


def test_selection_needs_confidence(regions):
    bare = Regions(regions.features, regions.boxes, regions.width, regions.height)
    with pytest.raises(ValueError, match="the regions have no confidence"):
        choose_rows(bare, Rules(min_confidence=0.2))


@pytest.mark.parametrize(
    "given_, message",
    [
        ({"global_token": "last"}, 'global_token is "last", expected "absent" or "first"'),
        ({"boxes": "no"}, 'boxes is "no", expected "given" or "none"'),
        ({"dimension": 0}, "dimension is 0, expected a whole number from 1 on"),
        ({"max_boxes": 3, "min_boxes": 4}, "max_boxes is 3, less than min_boxes 4"),
        ({"max_boxes": 3.0}, "max_boxes is 3.0, expected a whole number"),
        ({"min_confidence": 2}, "min_confidence is 2, expected 0 to 1"),
        ({"min_confidence": "20%"}, "min_confidence is '20%', expected 0 to 1"),
        ({"min_confidence": True}, "min_confidence is True, expected 0 to 1"),
        ({"min_boxes": None}, "min_boxes is None, expected a whole number"),
        ({"class_scores": "yes"}, "class_scores is 'yes', expected true or false"),
    ],
)
def test_rules_that_make_no_sense(given_, message):
    with pytest.raises(ValueError, match=message):
        Rules(**given_)


def test_none_can_be_given_as_text():
    rules = Rules(dimension="none", min_confidence="None", max_boxes="none", boxes="none")
    assert rules == Rules(boxes="none")


@pytest.mark.parametrize("rules", [Rules(max_boxes=2), Rules(min_confidence=0.5)])
def test_of_unsorted_regions_the_surest_stay(regions, rules):
    confidence = np.array([0.1, 0.9, 0.3, 0.6, 0.2], np.float32)
    names = tuple("abcde")
    kept = choose_rows(dataclasses.replace(regions, confidence=confidence, names=names), rules)
    assert kept.confidence.tolist() == confidence[[1, 3]].tolist() and kept.names == ("b", "d")
    for name in ("features", "boxes", "labels", "class_scores"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(regions, name)[[1, 3]])
    unsure = dataclasses.replace(regions, confidence=None)
    if rules.max_boxes:
        np.testing.assert_array_equal(choose_rows(unsure, rules).boxes, regions.boxes[:2])


def test_nothing_is_reordered_where_all_stay(regions):
    mixed = dataclasses.replace(regions, confidence=regions.confidence[::-1].copy())
    assert choose_rows(mixed, Rules(max_boxes=5)) is mixed
