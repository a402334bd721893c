"""Tests of classifiers that read regions one by one."""

import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import random_tokens, random_variables
from vlp_jax.heads.region_classifier import RegionClassifier, RegionScore


@pytest.fixture
def rng():
    return np.random.default_rng()


def run(module, *args):
    variables = random_variables(module, np.random.default_rng(), *args)
    return variables["params"], module.apply(variables, *args)


def test_every_region_is_classified(rng):
    states = rng.normal(size=(2, 3, 8)).astype(np.float32)
    p, logits = run(RegionClassifier(classes=5, form="linear"), states)
    np.testing.assert_allclose(logits, slow.linear(p["output"], states), atol=1e-5)


def test_scores_of_referring_expressions(rng):
    tokens = random_tokens(rng, 2, 5, 8)
    p, scores = run(RegionScore(form="linear"), tokens)
    exact = np.where(tokens.mask, slow.linear(p["output"], tokens.states)[..., 0], -1e4)
    np.testing.assert_allclose(scores, exact, atol=1e-5)
