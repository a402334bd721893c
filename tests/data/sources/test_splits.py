"""Tests of splits by a hash and by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.data.sources.splits import check_holdout, held_out_mask, split_name


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=60), st.floats(0.001, 0.99))
def test_equal_places_stay_together_and_no_set_is_empty(places, holdout):
    places = np.array(places)
    held = held_out_mask(places, holdout)
    assert not set(places[held]) & set(places[~held])
    assert (~held).any() and held.any() == (len(set(places)) > 1)


def test_a_share_is_held_out_and_none_of_it_moves_when_records_come():
    places = np.random.default_rng().random(5000)
    held = held_out_mask(places, 0.1)
    assert abs(held.mean() - 0.1) < 0.03
    np.testing.assert_array_equal(held_out_mask(places[:3000], 0.1), held[:3000])
    assert not held_out_mask(places, 0).any() and held_out_mask(places[:0], 0.1).shape == (0,)


@pytest.mark.parametrize("wrong", [-0.1, 1, True, "0.1", None])
def test_shares_outside_the_range_are_refused(wrong):
    with pytest.raises(ValueError, match="holdout is .*; expected a share"):
        check_holdout(wrong)


def test_names_of_splits():
    assert split_name("train", None, ["train", "val"]) == "train"
    assert split_name("validation", None, ["train", "val"]) == "val"
    assert split_name("validation", None, ["validation", "val"]) == "validation"
    assert split_name("test", {"test": "val[:10]"}, ["train", "val"]) == "val[:10]"
    with pytest.raises(ValueError, match='no split "test", it has train, val.*splits = '):
        split_name("test", None, ["train", "val"])
    with pytest.raises(ValueError, match='"tset".*Did you mean "test"'):
        split_name("train", {"tset": "val"}, ["train"])
