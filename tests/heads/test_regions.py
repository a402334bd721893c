"""Tests of what each region shows: labels and features of the detector."""

import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import run_module
from vlp_jax.heads.regions import RegionLabelHead


@pytest.mark.parametrize(
    "sizes",
    [dict(objects=5, attributes=4, features=6), dict(objects=5, attributes=0, features=0)],
)
def test_outputs_share_a_transform_and_those_of_size_0_are_left_out(sizes):
    states = np.random.default_rng().normal(size=(2, 3, 8)).astype(np.float32)
    p, outputs = run_module(RegionLabelHead(**sizes), states)
    hidden = slow.layer_norm(p["norm"], slow.gelu(slow.linear(p["transform"], states)), 1e-12)
    given = {name.removesuffix("s") for name, size in sizes.items() if size}
    assert set(outputs) == given and set(p) == {"transform", "norm", *given}
    for name, output in outputs.items():
        np.testing.assert_allclose(output, slow.linear(p[name], hidden), atol=5e-5)
        assert output.shape[-1] == sizes[f"{name}s"]
