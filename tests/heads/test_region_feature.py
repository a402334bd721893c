"""Feature regression goes back through the projection that embedded the features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.config import ModelConfig
from vlp_jax.heads.region_feature import RegionFeatureHead
from vlp_jax.model import build_model, example_batch
from vlp_jax.weights.zoo.base import abstract_shapes


def test_output_layer_is_the_transposed_projection():
    draw = np.random.default_rng()
    states = draw.normal(size=(1, 2, 4)).astype(np.float32)
    table = draw.normal(size=(6, 4)).astype(np.float32)
    head = RegionFeatureHead()
    params = head.init(jax.random.key(0), states, table)
    plain = head.apply(params, states, table)
    assert plain.shape == (1, 2, 6)
    np.testing.assert_allclose(head.apply(params, states, 2 * table), 2 * plain, rtol=1e-5)


def test_another_width_is_refused():
    with pytest.raises(ValueError, match="width 5 and cannot read region states of width 4"):
        RegionFeatureHead().init(jax.random.key(0), jnp.zeros((1, 2, 4)), jnp.zeros((6, 5)))


def test_the_model_hands_over_the_projection_of_its_region_encoder():
    small = dict(width=4, layers=0)
    config = ModelConfig(
        vision="regions",
        vision_args=dict(feature_width=3, **small),
        text_args=dict(vocab_size=9, max_length=8, **small),
        fusion="single_stream",
        fusion_args=dict(layers=0),
        heads={"region_feature": {}},
    )
    model = build_model(config)
    params = jax.tree.map(lambda x: jnp.ones(x.shape), abstract_shapes(model))
    run = jax.jit(lambda params: model.apply({"params": params}, example_batch(model)))
    before = run(params)["region_feature"]
    params["vision"]["feature_projection"]["kernel"] *= 2
    assert before.shape == (1, 4, 3)
    np.testing.assert_allclose(run(params)["region_feature"] - 1, 2 * (before - 1), rtol=1e-5)
