"""Tests of masked language modelling: shares, ranges and what is never masked."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.data.batch import IGNORE
from vlp_jax.data.masking import Masking, mask_tokens

PAD, CLS, MASK, SIZE = 0, 2, 4, 1000


def run(ids, mask, seed=0, **options):
    return mask_tokens(
        ids, mask, np.random.default_rng(seed), mask_id=MASK, size=SIZE,
        special_ids=(PAD, CLS), masking=Masking(**options),
    )  # fmt: skip


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 40), st.floats(0, 1),
    st.booleans(),
)  # fmt: skip
def test_properties_of_any_masking(seed, length, used, probability, at_least_one):
    rng = np.random.default_rng(seed)
    mask = np.arange(length) < used
    ids = np.where(mask, rng.integers(5, SIZE, length), PAD).astype(np.int32)
    ids[0] = CLS
    before = ids.copy()
    mlm_ids, labels = run(ids, mask, seed, probability=probability, at_least_one=at_least_one)
    targets = labels != IGNORE
    assert mlm_ids.dtype == labels.dtype == np.int32 and (ids == before).all()
    assert (labels[targets] == ids[targets]).all() and (mlm_ids[~targets] == ids[~targets]).all()
    assert not (targets & ~mask).any() and not targets[0]
    assert ((mlm_ids >= 0) & (mlm_ids < SIZE)).all()
    if at_least_one and mask[1:].any():
        assert targets.any()


def test_shares_are_those_asked_for():
    ids = np.full((400, 500), 7, np.int32)
    mlm_ids, labels = run(ids, np.ones_like(ids, bool), probability=0.15)
    targets = labels != IGNORE
    assert abs(targets.mean() - 0.15) < 0.004
    hidden = mlm_ids[targets]
    assert abs((hidden == MASK).mean() - 0.8) < 0.01
    assert abs((hidden == 7).mean() - 0.1) < 0.01
    others = hidden[(hidden != MASK) & (hidden != 7)]
    assert others.min() < 20 and others.max() > SIZE - 20


def test_random_range_is_half_open():
    ids = np.full((100, 100), 7, np.int32)
    options = {"probability": 1.0, "replace": (0.0, 1.0, 0.0), "random_range": (50, 53)}
    mlm_ids, labels = run(ids, np.ones_like(ids, bool), **options)
    assert set(np.unique(mlm_ids)) == {50, 51, 52} and (labels == 7).all()


def test_at_least_one_hides_the_first_ordinary_token():
    ids = np.array([[CLS, 8, 9, PAD], [CLS, PAD, PAD, PAD]], np.int32)
    mlm_ids, labels = run(ids, ids != PAD, probability=0.0, at_least_one=True)
    assert mlm_ids.tolist() == [[CLS, MASK, 9, PAD], [CLS, PAD, PAD, PAD]]
    assert labels.tolist() == [[IGNORE, 8, IGNORE, IGNORE], [IGNORE] * 4]


def test_the_same_generator_state_gives_the_same_masks():
    ids = np.arange(5, 45, dtype=np.int32)
    first, second, other = (run(ids, ids > 0, seed)[0] for seed in (3, 3, 4))
    assert (first == second).all() and (first != other).any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"probability": 1.5}, "expected 0 to 1"),
        ({"replace": (0.8, 0.1, 0.2)}, "sum to 1"),
        ({"replace": (1.2, -0.1, -0.1)}, "sum to 1"),
        ({"random_range": (9, 9)}, "first < last"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Masking(**options)
