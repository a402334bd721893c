"""Tests of the classifier on two pooled vectors."""

import numpy as np

from tests.layers import slow
from tests.model.tiny import random_variables
from vlp_jax.heads.pair import PairClassifier


def test_the_two_vectors_stand_side_by_side():
    rng = np.random.default_rng()
    first, second = rng.normal(size=(2, 3, 4)).astype(np.float32)
    module = PairClassifier(classes=2, form="linear")
    variables = random_variables(module, rng, first, second)
    exact = slow.linear(variables["params"]["output"], np.concatenate([first, second], -1))
    np.testing.assert_allclose(module.apply(variables, first, second), exact, atol=1e-5)


def test_hidden_is_four_times_one_vector_by_default():
    pooled = np.zeros((3, 4), np.float32)
    module = PairClassifier(classes=2)
    p = random_variables(module, np.random.default_rng(), pooled, pooled)["params"]
    assert p["hidden"]["kernel"].shape == (8, 16)
