"""Tests of what each region shows: labels and features of the detector."""

import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import random_variables
from vlp_jax.heads.regions import RegionLabelHead


@pytest.fixture
def rng():
    return np.random.default_rng()


def run(module, *args):
    variables = random_variables(module, np.random.default_rng(), *args)
    return variables["params"], module.apply(variables, *args)


def test_region_labels_share_a_transform(rng):
    states = rng.normal(size=(2, 3, 8)).astype(np.float32)
    p, outputs = run(RegionLabelHead(objects=5, attributes=4, features=6), states)
    hidden = slow.layer_norm(p["norm"], slow.gelu(slow.linear(p["transform"], states)), 1e-12)
    assert set(outputs) == {"object", "attribute", "feature"}
    for name, output in outputs.items():
        np.testing.assert_allclose(output, slow.linear(p[name], hidden), atol=5e-5)


def test_a_size_of_zero_leaves_an_output_out(rng):
    states = rng.normal(size=(2, 3, 8)).astype(np.float32)
    p, outputs = run(RegionLabelHead(objects=5, attributes=0, features=0), states)
    assert set(outputs) == {"object"} and set(p) == {"transform", "norm", "object"}
