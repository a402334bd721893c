"""Tests of hiding regions: shares, what is shown instead, and the region of the whole image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.data.region_fields import global_feature
from vlp_jax.data.region_masking import REGION_MASKINGS, RegionMasking, mask_regions


def refuse():
    raise AssertionError("another image was read though none of its features is shown")


def run(features, seed=0, slots=None, other=refuse, **options):
    rng = np.random.default_rng(seed)
    slots = len(features) if slots is None else slots
    return mask_regions(features, rng, RegionMasking(**options), slots, other)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 12), st.floats(0, 1), st.booleans(),
    st.sampled_from([name for name, masking in REGION_MASKINGS.items() if masking]),
)  # fmt: skip
def test_properties_of_any_masking(seed, count, probability, at_least_one, name):
    features = np.random.default_rng(seed).normal(size=(count, 5)).astype(np.float32)
    before, replace = features.copy(), REGION_MASKINGS[name].replace
    foreign = np.full((3, 5), 9, np.float32)
    shown, hidden = run(
        features, seed, 12, lambda: foreign,
        probability=probability, replace=replace, at_least_one=at_least_one,
    )  # fmt: skip
    assert shown.dtype == np.float32 and hidden.dtype == bool and (features == before).all()
    assert (shown[~hidden] == features[~hidden]).all()
    if at_least_one and count:
        assert hidden.any()
    for row in np.flatnonzero(hidden):
        choices = ([0] * 5, [9] * 5, features[row].tolist())
        allowed = [c for c, share in zip(choices, replace) if share]
        assert shown[row].tolist() in allowed


@pytest.mark.parametrize(
    "name, shares", [("uniter", (1, 0, 0)), ("lxmert", (0.8, 0.1, 0.1)), ("vilbert", (0.9, 0, 0.1))]
)
def test_the_published_shares(name, shares):
    features = np.ones((40_000, 1), np.float32)
    masking = REGION_MASKINGS[name]
    other = lambda: np.full((1, 1), 2, np.float32)
    shown, hidden = mask_regions(features, np.random.default_rng(1), masking, 40_000, other)
    assert abs(hidden.mean() - 0.15) < 0.007
    seen = [float((shown[hidden] == value).mean()) for value in (0, 2, 1)]
    assert seen == pytest.approx(shares, abs=0.02)


def test_the_forced_region_is_any_of_them():
    features = np.ones((4, 1), np.float32)
    forced = [
        int(np.flatnonzero(run(features, seed, probability=0.0, at_least_one=True)[1]).item())
        for seed in range(60)
    ]
    assert set(forced) == {0, 1, 2, 3}


def test_later_draws_do_not_depend_on_the_number_of_regions():
    after = []
    for count in (0, 2, 7):
        rng = np.random.default_rng(5)
        mask_regions(np.ones((count, 2), np.float32), rng, RegionMasking(), 7, refuse)
        after.append(rng.random())
    assert len(set(after)) == 1


def test_features_come_from_several_regions_of_the_other_image():
    foreign = np.arange(6, dtype=np.float32)[:, None] + 10
    options = {"probability": 1.0, "replace": (0.0, 1.0, 0.0)}
    shown, _ = run(np.zeros((60, 1), np.float32), other=lambda: foreign, **options)
    assert set(shown.ravel()) == set(foreign.ravel())
    empty, hidden = run(np.ones((2, 1), np.float32), other=lambda: foreign[:0], **options)
    assert hidden.all() and not empty.any()


def test_the_mean_of_vilbert_leaves_neighbours_of_hidden_regions_out_of_the_number():
    boxes = np.array([[0, 0, 0.5, 1], [0.1, 0, 0.5, 1], [0.6, 0, 1, 1]])  # 0 and 1 overlap by 0.8
    shown = np.array([[0.0], [4.0], [6.0]])
    hidden = np.array([True, False, False])
    assert global_feature(shown, boxes, hidden, 0.4).tolist() == [10.0]  # 10 / 1
    assert global_feature(shown, boxes, hidden, 0.9).tolist() == [5.0]  # 10 / 2: not the hidden one
    assert global_feature(shown, boxes, hidden, None) == pytest.approx([10 / 3])
    assert global_feature(shown, boxes, ~hidden | True, 0.4).tolist() == [10.0]  # none counts
    assert global_feature(shown[:0], boxes[:0], hidden[:0], 0.4).tolist() == [0.0]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"probability": 1.5}, "probability is 1.5, expected 0 to 1"),
        ({"replace": (0.5, 0.5)}, "three shares that sum to 1"),
        ({"replace": (0.8, 0.3, 0.1)}, "three shares that sum to 1"),
        ({"overlap": -0.1}, "overlap is -0.1"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RegionMasking(**options)
