"""Tests of classifiers that read regions one by one."""

import numpy as np

from tests.layers import slow
from tests.model.tiny import random_tokens, run_module
from vlp_jax.heads.region_classifier import RegionClassifier, RegionScore


def test_every_region_is_classified():
    states = np.random.default_rng().normal(size=(2, 3, 8)).astype(np.float32)
    p, logits = run_module(RegionClassifier(classes=5, form="linear"), states)
    np.testing.assert_allclose(logits, slow.linear(p["output"], states), atol=1e-5)


def test_scores_of_referring_expressions():
    tokens = random_tokens(np.random.default_rng(), 2, 5, 8)
    p, scores = run_module(RegionScore(form="linear"), tokens)
    exact = np.where(tokens.mask, slow.linear(p["output"], tokens.states)[..., 0], -1e4)
    np.testing.assert_allclose(scores, exact, atol=1e-5)
