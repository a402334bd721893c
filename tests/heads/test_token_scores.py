"""Tests of the scores of regions and of words."""

import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import random_tokens, random_variables
from vlp_jax.heads.token_scores import RegionScoreHead, WordScoreHead


@pytest.fixture
def rng():
    return np.random.default_rng()


def run(module, *args):
    variables = random_variables(module, np.random.default_rng(), *args)
    return variables["params"], module.apply(variables, *args)


def test_scores_of_grounding(rng):
    tokens = random_tokens(rng, 2, 5, 8)
    p, scores = run(RegionScoreHead(), tokens)
    exact = slow.linear(p["output"], tokens.states)[..., 0] + np.where(tokens.mask, 0, -1e4)
    np.testing.assert_allclose(scores, exact, rtol=1e-6, atol=1e-5)


def test_scores_of_words(rng):
    tokens = random_tokens(rng, 2, 5, 8)
    p, scores = run(WordScoreHead(), tokens)
    np.testing.assert_allclose(scores, slow.linear(p["output"], tokens.states)[..., 0], atol=1e-5)
