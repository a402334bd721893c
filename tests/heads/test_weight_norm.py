"""Tests of weight normalisation as the old ViLBERT release has it."""

import jax
import numpy as np

from tests.model.tiny import random_variables
from vlp_jax.heads.weight_norm import WeightNormClassifier, WeightNormLinear


def test_one_magnitude_for_the_whole_matrix():
    rng = np.random.default_rng()
    x = rng.normal(size=(3, 4)).astype(np.float32)
    module = WeightNormLinear(5)
    variables = random_variables(module, rng, x)
    p = variables["params"]
    kernel = (
        p["magnitude"] * p["direction"] / np.sqrt((p["direction"].astype(np.float64) ** 2).sum())
    )
    np.testing.assert_allclose(module.apply(variables, x), x @ kernel + p["bias"], atol=1e-5)


def test_the_length_of_the_direction_does_not_matter():
    rng = np.random.default_rng()
    x = rng.normal(size=(3, 4)).astype(np.float32)
    module = WeightNormLinear(5)
    variables = random_variables(module, rng, x)
    longer = {"params": variables["params"] | {"direction": 7 * variables["params"]["direction"]}}
    np.testing.assert_allclose(module.apply(variables, x), module.apply(longer, x), atol=1e-5)


def test_starts_as_the_direction_itself():
    x = np.ones((1, 4), np.float32)
    p = WeightNormLinear(5).init(jax.random.key(0), x)["params"]
    np.testing.assert_allclose(p["magnitude"], np.linalg.norm(p["direction"].unbox()), rtol=1e-6)


def test_classifier():
    rng = np.random.default_rng()
    x = rng.normal(size=(3, 4)).astype(np.float32)
    module = WeightNormClassifier(classes=5)
    variables = random_variables(module, rng, x)

    def layer(p, x):
        norm = np.sqrt((p["direction"].astype(np.float64) ** 2).sum())
        return x @ (p["magnitude"] * p["direction"] / norm) + p["bias"]

    p = variables["params"]
    exact = layer(p["output"], np.maximum(layer(p["hidden"], x), 0))
    np.testing.assert_allclose(module.apply(variables, x), exact, atol=1e-5)
    assert p["hidden"]["direction"].shape == (4, 8)
