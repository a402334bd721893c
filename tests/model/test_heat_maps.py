"""Tests of heat maps: against the attention written out, in all fusions, and their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from tests.model.tiny import (
    STREAM,
    fusion_args,
    random_params,
    random_tokens,
    tiny_model,
)
from vlp_jax.fusion import FUSIONS
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model.heat_maps import attention_maps, heat_maps, text_over_image

ONE_IMAGE = sorted(name for name in FUSIONS if FUSIONS[name].images == 1)


def model_of(fusion, **changes):
    scan = changes.pop("scan_layers", "auto")
    args = fusion_args(fusion, **changes)
    model = tiny_model(fusion=fusion, fusion_args=args, scan_layers=scan)
    return model, random_params(model, np.random.default_rng())


def streams(words, regions):
    rng = np.random.default_rng()
    return random_tokens(rng, 2, words, full=True), random_tokens(rng, 2, regions, full=True)


def match_logit(model, image, text):
    """A score: the logit of the class "match"."""
    return model.head("itm")(model.pool(model.fuse(image, text)))[:, 1]


def heat_of(model, params, text, image):
    run = jax.jit(lambda params, *tokens: heat_maps(model, params, match_logit, *tokens))
    return np.asarray(run(params, image, text))


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("fusion", ONE_IMAGE)
def test_heat_maps_of_as_many_words_as_image_tokens(fusion):
    model, params = model_of(fusion, layers=2)
    text, image = streams(4, 4)
    heat = heat_of(model, params, text, image)
    hidden = jax.tree.map(lambda x: np.concatenate([x, np.zeros_like(x[:, :1])], 1), text)
    np.testing.assert_allclose(heat, heat_of(model, params, hidden, image)[:, :4], atol=1e-6)
    assert heat.shape == (2, 4, 4) and (heat >= 0).all() and heat.any()


@pytest.mark.slow
@pytest.mark.parametrize("scan", ["on", "off"])
def test_the_middle_layer_counts(scan):
    """Three layers: gradient × attention of the second, by finite differences of the score."""
    model, params = model_of("cross_attention", layers=3, scan_layers=scan)
    text, image = streams(3, 4)
    _, made = model.apply(
        {"params": params}, image, text, method=match_logit, mutable=["attention"]
    )
    probabilities = text_over_image(model.fusion, made["attention"]["fusion"], 3)
    assert probabilities.shape == (3, 2, 2, 3, 4)
    zeros = jax.tree.map(jnp.zeros_like, made["attention"])

    def score(layer, head, word, token, step):
        cross = zeros["fusion"]["layers"]["cross_attention"]["attention"]
        moved = cross["probabilities"][0].at[layer, :, head, word, token].set(step)
        path = ("fusion", "layers", "cross_attention", "attention", "probabilities")
        shift = unflatten_dict({path: (moved,)})
        given = {"params": params, "attention_shift": shift}
        made = model.apply(given, image, text, method=match_logit, mutable=["attention"])
        return np.asarray(made[0])

    heat = heat_of(model, params, text, image)
    for word, token in ((0, 1), (2, 3)):
        slopes = [
            (score(1, h, word, token, 1e-2) - score(1, h, word, token, -1e-2)) / 2e-2
            for h in range(2)
        ]
        read = np.asarray(probabilities[1, :, :, word, token]).T
        exact = (read * np.maximum(slopes, 0)).mean(0)
        np.testing.assert_allclose(heat[:, word, token], exact, atol=2e-3)


def test_masked_image_tokens_stay_cold():
    model, params = model_of("cross_attention")
    text, image = streams(4, 4)
    image = Tokens(image.states, image.mask & (np.arange(4) != 2))
    heat = heat_of(model, params, text, image)
    assert not heat[:, :, 2].any() and heat[:, :, [0, 1, 3]].any()


@pytest.mark.parametrize("layer, taken", [(None, 1), (0, 0), (2, 2)])
def test_attention_of_a_layer_is_the_mean_over_heads(layer, taken):
    model, params = model_of("cross_attention", layers=3)
    text, image = streams(3, 4)
    given = {"params": params}, image, text
    _, made = model.apply(*given, method=match_logit, mutable=["attention"])
    kept = text_over_image(model.fusion, made["attention"]["fusion"], 3)
    found = attention_maps(model, params, image, text, layer)
    np.testing.assert_allclose(found, kept[taken].mean(1), atol=1e-6)
    with pytest.raises(ValueError, match="layer is 3; text reads the image in 3 layer.*0 to 2"):
        attention_maps(model, params, image, text, 3)


def test_joint_attention_is_cut_to_text_over_image():
    joint = jnp.arange(25).reshape(1, 1, 1, 5, 5)
    made = {"layers": {"self_attention": {"attention": {"probabilities": (joint,)}}}}
    (found,) = text_over_image(FUSIONS["single_stream"](), made, 2)
    np.testing.assert_array_equal(found[0, 0], [[2, 3, 4], [7, 8, 9]])


def test_layers_of_irregular_co_attention_are_in_order():
    runs = dict(layers=3, image_layers=(1, 1, 0), text_layers=(1, 1, 1))
    fusion = FUSIONS["co_attention"](**runs, **STREAM)

    def leaf(*layers):
        values = jnp.stack([jnp.full((1, 1, 2, 3), i) for i in layers])
        return {"text_connection": {"attention": {"probabilities": (values,)}}}

    made = {"run_0_layers": leaf(0, 1), "run_1_layers": leaf(2)}
    assert [int(x.max()) for x in text_over_image(fusion, made, 2)] == [0, 1, 2]


@pytest.mark.parametrize("made", [{}, {"layers": {}}])
@pytest.mark.parametrize(
    "fusion", ["two_image_cross_attention", "cross_attention", "single_stream"]
)
def test_a_fusion_without_such_attention(fusion, made):
    with pytest.raises(
        ValueError, match="no layer of this model's fusion lets text positions read"
    ):
        text_over_image(FUSIONS[fusion](), made, 2)
