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
    inputs = tokens(5, 6), tokens(5, 6), tokens(4, 8)
    params = meta.unbox(FUSION.init(jax.random.key(0), *inputs))["params"]
    rng = np.random.default_rng()
    params = jax.tree.map(lambda x: x + 0.3 * rng.standard_normal(x.shape), params)
    run = jax.jit(lambda params, *inputs: FUSION.apply({"params": params}, *inputs).text.states)
    return run, params, inputs


def test_a_pair_shares_key_and_value_and_nothing_else(setting):
    _, params, _ = setting
    paths = {path.rsplit("/", 1)[0] for path in flatten_dict(params, sep="/")}
    assert {"layers/key", "layers/value"} <= paths
    reading = "cross_attention/attention"
    for layer in ("layers/first", "layers/second"):
        assert {f"{layer}/{reading}/query", f"{layer}/{reading}/output"} <= paths
        assert not {f"{layer}/{reading}/key", f"{layer}/{reading}/value"} & paths


@pytest.mark.parametrize("image", [0, 1])
def test_both_images_count(setting, image):
    run, params, inputs = setting
    changed = list(inputs)
    changed[image] = tokens(5, 6)
    assert np.abs(run(params, *inputs) - run(params, *changed)).max() > 1e-3


def test_the_order_of_the_images_counts(setting):
    run, params, (first, second, text) = setting
    assert np.abs(run(params, first, second, text) - run(params, second, first, text)).max() > 1e-3


def test_the_first_layer_of_a_pair_reads_the_first_image(setting):
    _, params, (first, second, text) = setting
    read = lambda *inputs: FUSION.apply({"params": params}, *inputs, mutable=["intermediates"])[1]
    same, other = read(first, second, text), read(first, tokens(5, 6), text)
    layer = lambda sown, which: sown["intermediates"]["layers"][which]["output"][0][0]
    np.testing.assert_array_equal(layer(same, "first"), layer(other, "first"))
    assert np.abs(layer(same, "second") - layer(other, "second")).max() > 1e-3
