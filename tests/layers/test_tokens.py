"""Tests of the value that passes between encoders, fusions and heads."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.model.tiny import random_tokens
from vlp_jax.layers.tokens import Tokens


@given(st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_split_undoes_concatenate(length, seed):
    rng = np.random.default_rng(seed)
    left, right = random_tokens(rng, 2, 1 + length, 3), random_tokens(rng, 2, 4, 3)
    for found, expected in zip(left.concatenate(right).split(1 + length), (left, right)):
        np.testing.assert_array_equal(found.states, expected.states)
        np.testing.assert_array_equal(found.mask, expected.mask)


def test_the_mean_is_of_real_tokens():
    states = np.array([[[1.0, 2], [3, 6], [100, 100]], [[5, 5], [7, 7], [9, 9]]], np.float32)
    mask = np.array([[True, True, False], [False, False, False]])
    np.testing.assert_array_equal(Tokens(states, mask).masked_mean(), [[2, 4], [0, 0]])
