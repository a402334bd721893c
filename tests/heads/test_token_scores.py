"""Tests of the scores of regions and of words."""

import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import random_tokens, run_module
from vlp_jax.heads.token_scores import RegionScoreHead, WordScoreHead


@pytest.mark.parametrize(("head", "masked"), [(RegionScoreHead, -1e4), (WordScoreHead, 0)])
def test_a_score_for_each_token(head, masked):
    tokens = random_tokens(np.random.default_rng(), 2, 5, 8)
    p, scores = run_module(head(), tokens)
    exact = slow.linear(p["output"], tokens.states)[..., 0] + np.where(tokens.mask, 0, masked)
    np.testing.assert_allclose(scores, exact, rtol=1e-6, atol=1e-5)
