"""The composition that the source text calls ViLBERT: it builds, reads both sides, and learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta
from flax.traverse_util import flatten_dict

from tests.weights.zoo.reading import read_head
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.model import build_model
from vlp_jax.model.model import example_batch, init_params
from vlp_jax.weights.conversion import count_parameters, layers_apart
from vlp_jax.weights.zoo import ZOO
from vlp_jax.weights.zoo.base import abstract_shapes

PRESET = ZOO["vilbert_source_text"]
TINY = PRESET.sizes | {
    "image_size": 32,
    "resnet_config": PRESET.sizes["resnet_config"]
    | {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]},
    "hidden_size": 8,
    "intermediate_size": 6,
    "max_position_embeddings": 9,
    "num_attention_heads": 2,
    "num_joint_layers": 1,
    "num_text_layers": 1,
    "vocab_size": 11,
}


def test_preset_builds_and_fills_its_table():
    shapes = abstract_shapes(build_model(PRESET.config))
    assert count_parameters(shapes) == PRESET.parameters
    assert PRESET.key_table(PRESET.config).paths == layers_apart(shapes).keys()
    assert PRESET.config.fusion == "single_stream"


@pytest.mark.slow
def test_words_and_grid_read_each_other_and_gradients_reach_both():
    model = build_model(PRESET.from_published(TINY))
    params = meta.unbox(init_params(model, jax.random.key(0)))
    params = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(1), x.shape), params)
    batch = example_batch(model, 2)
    batch["image"] = jax.random.randint(jax.random.key(2), (2, 32, 32, 3), 0, 256).astype(jnp.uint8)

    def loss(params):
        outputs = model.apply({"params": params}, batch)
        match = cross_entropy(outputs["itm"], jnp.array([0, 1])).mean()
        return match + cross_entropy(outputs["mlm"], batch["text_ids"]).mean()

    grads = flatten_dict(jax.jit(jax.grad(loss))(params), sep="/")
    for path in ("vision/stem/convolution/kernel", "vision/positions", "text/word/table"):
        assert jnp.any(grads[path] != 0), path

    fuse = lambda m, b: m.fuse(m.encode_image(b), m.encode_text(b["text_ids"], b["text_mask"]))
    fused = model.apply({"params": params}, batch, method=fuse)
    assert fused.text.states.shape == (2, 8, 8) and fused.image.states.shape == (2, 16, 8)
    np.testing.assert_raises(
        AssertionError, np.testing.assert_allclose, *fused.text.states, atol=1e-6
    )
    matched = model.apply({"params": params}, "itm", fused, method=read_head)
    assert matched.shape == (2, 2)
