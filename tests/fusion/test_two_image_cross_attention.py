"""The fusion for two images: alternating images, keys and values shared inside a pair only."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta
from flax.traverse_util import flatten_dict

from vlp_jax.fusion.two_image_cross_attention import TwoImageCrossAttentionFusion
from vlp_jax.layers.tokens import Tokens

FUSION = TwoImageCrossAttentionFusion(layers=2, heads=2, mlp_width=12, dropout=0.0)


def tokens(length, width):
    states = np.random.default_rng().standard_normal((2, length, width))
    return Tokens(jnp.asarray(states, jnp.float32), jnp.ones((2, length), bool))


@pytest.fixture(scope="module")
def setting():
    inputs = tokens(4, 8), tokens(5, 6), tokens(5, 6)
    params = meta.unbox(FUSION.init(jax.random.key(0), *inputs))["params"]
    rng = np.random.default_rng()
    params = jax.tree.map(lambda x: x + 0.3 * rng.standard_normal(x.shape), params)
    run = jax.jit(lambda params, *inputs: FUSION.apply({"params": params}, *inputs).text.states)
    return run, params, inputs


def test_a_pair_shares_key_and_value_and_nothing_else(setting):
    _, params, _ = setting
    paths = {path.rsplit("/", 1)[0] for path in flatten_dict(params, sep="/")}
    assert {"pair_0_key", "pair_0_value", "pair_1_key", "pair_1_value"} <= paths
    reading = "cross_attention/attention"
    for i in range(4):
        assert {f"layer_{i}/{reading}/query", f"layer_{i}/{reading}/output"} <= paths
        assert not {f"layer_{i}/{reading}/key", f"layer_{i}/{reading}/value"} & paths


@pytest.mark.parametrize("image", [1, 2])
def test_both_images_count(setting, image):
    run, params, inputs = setting
    changed = list(inputs)
    changed[image] = tokens(5, 6)
    assert np.abs(run(params, *inputs) - run(params, *changed)).max() > 1e-3


def test_the_order_of_the_images_counts(setting):
    run, params, (text, first, second) = setting
    assert np.abs(run(params, text, first, second) - run(params, text, second, first)).max() > 1e-3


def test_the_first_layer_of_a_pair_reads_the_first_image(setting):
    _, params, (text, first, second) = setting
    read = lambda *inputs: FUSION.apply({"params": params}, *inputs, mutable=["intermediates"])[1]
    same, other = read(text, first, second), read(text, first, tokens(5, 6))
    layer = lambda sown, i: sown["intermediates"][f"layer_{i}_output"][0]
    np.testing.assert_array_equal(layer(same, 0), layer(other, 0))
    assert np.abs(layer(same, 1) - layer(other, 1)).max() > 1e-3
