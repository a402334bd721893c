"""Tests of heat maps: which attention they come from, and what stays cold."""

import jax
import numpy as np
import pytest

from tests.model.tiny import fusion_args, random_params, random_tokens, tiny_model
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import Forward
from vlp_jax.model.heat_maps import _text_to_image
from vlp_jax.tasks.matching import match_heat


def heat_of_matches(**changes):
    """Returns a function of texts and images, for a model with random parameters."""
    model = tiny_model(**changes)
    forward = Forward(model, random_params(model, np.random.default_rng()))
    return lambda texts, images: np.asarray(match_heat(forward, images, texts))


def streams(words, regions):
    rng = np.random.default_rng()
    return random_tokens(rng, 2, words, full=True), random_tokens(rng, 2, regions, full=True)


@pytest.mark.parametrize("fusion", ["cross_attention", "cross_modality"])
def test_heat_maps_of_as_many_words_as_image_tokens(fusion):
    heat_of = heat_of_matches(fusion=fusion, fusion_args=fusion_args(fusion))
    texts, images = streams(4, 4)
    heat = heat_of(texts, images)
    longer = jax.tree.map(lambda x: np.concatenate([x, np.zeros_like(x[:, :1])], 1), texts)
    np.testing.assert_allclose(heat, heat_of(longer, images)[:, :4], atol=1e-6)
    assert heat.shape == (2, 4, 4) and (heat >= 0).all() and heat.any()


def test_masked_image_tokens_stay_cold():
    texts, images = streams(4, 4)
    images = Tokens(images.states, images.mask & (np.arange(4) != 2))
    heat = heat_of_matches()(texts, images)
    assert not heat[:, :, 2].any() and heat[:, :, [0, 1, 3]].any()


def test_attention_arrays_are_found_in_the_order_of_layers():
    tree = {f"layer_{i}": {"probabilities": (np.full((1, 1, 2, 3), i),)} for i in range(12)}
    tree |= {"layer_3": tree["layer_3"] | {"other": (np.zeros((1, 1, 2, 3)),)}}
    assert [int(x.max()) for x in _text_to_image(tree, 2, 3)] == list(range(12))


def test_joint_attention_is_cut_to_text_over_image():
    joint = np.arange(25).reshape(1, 1, 5, 5)
    (found,) = _text_to_image({"probabilities": (joint,)}, 2, 3)
    np.testing.assert_array_equal(found[0, 0], [[2, 3, 4], [7, 8, 9]])


def test_a_fusion_without_such_attention():
    with pytest.raises(
        ValueError, match="no layer of this model's fusion lets text positions read"
    ):
        _text_to_image({"probabilities": (np.zeros((1, 1, 4, 4)),)}, 2, 3)
