"""Tests of all fusions: against float64, and that what is masked never matters."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.layers import slow
from tests.model.tiny import WIDTH, fusion_args, random_tokens, random_variables
from vlp_jax.fusion import FUSIONS
from vlp_jax.fusion.co_attention import places
from vlp_jax.layers.tokens import Tokens

BATCH, WORDS, REGIONS = 2, 4, 3
SAME_WIDTH = ("cross_modality",)


class Within(nn.Module):
    """A model that has the fusion as its part of that name."""

    fusion: nn.Module

    def __call__(self, *streams):
        return self.fusion(*streams)


def image_width(fusion):
    return WIDTH if fusion in SAME_WIDTH else 12


def module_of(fusion, **changes):
    return FUSIONS[fusion](**fusion_args(fusion, **changes))


def inputs(fusion, rng, full=False):
    """Returns as many image tokens as the fusion takes, and text tokens."""
    text = random_tokens(rng, BATCH, WORDS, full=full)
    width, count = image_width(fusion), FUSIONS[fusion].images
    images = [random_tokens(rng, BATCH, REGIONS, width, full=full) for _ in range(count)]
    return *images, text


@functools.cache
def compiled(fusion):
    """Returns the function (variables, streams) -> ((sum of valid outputs, fused), gradients)."""
    module = module_of(fusion)

    def total(streams, variables):
        fused = module.apply(variables, *streams)
        valid = [(s.states * s.mask[..., None]).sum() for s in (fused.text, fused.image)]
        return sum(x * np.cos(i + 1.0) for i, x in enumerate(valid)), fused

    gradient = jax.value_and_grad(total, has_aux=True, allow_int=True)
    return jax.jit(lambda variables, *streams: gradient(streams, variables))


def run(fusion, variables, streams):
    (_, fused), gradients = compiled(fusion)(variables, *streams)
    return fused, [np.asarray(g.states) for g in gradients]


def junk(rng, tokens):
    """Returns the tokens with other states wherever the mask is False."""
    other = 30 * rng.normal(size=tokens.states.shape).astype(np.float32)
    return Tokens(np.where(tokens.mask[..., None], tokens.states, other), tokens.mask)


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS)
@given(seed=st.integers(0, 2**32 - 1))
def test_padding_changes_nothing_and_gets_no_gradient(fusion, seed):
    rng = np.random.default_rng(seed)
    streams = inputs(fusion, rng)
    variables = random_variables(module_of(fusion), rng, *streams)
    fused, gradients = run(fusion, variables, streams)
    again, _ = run(fusion, variables, [junk(rng, s) for s in streams])
    for own, other in ((fused.text, again.text), (fused.image, again.image)):
        real = np.asarray(own.mask)
        np.testing.assert_array_equal(own.mask, other.mask)
        np.testing.assert_array_equal(np.asarray(own.states)[real], np.asarray(other.states)[real])
    for gradient, stream in zip(gradients, streams):
        assert not gradient[~np.asarray(stream.mask)].any()


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("empty", ["text", "images", "both"])
def test_fully_masked_rows_are_finite(fusion, empty):
    rng = np.random.default_rng()
    *images, text = inputs(fusion, rng)
    nothing = lambda tokens: Tokens(tokens.states, np.zeros_like(tokens.mask))
    text = nothing(text) if empty != "images" else text
    images = [nothing(i) if empty != "text" else i for i in images]
    variables = random_variables(module_of(fusion), rng, *images, text)
    for leaf in jax.tree.leaves(run(fusion, variables, (*images, text))):
        assert np.isfinite(leaf).all()


def attend(p, states, context, mask):
    return slow.post_norm_attention(p, states, context, slow.sees(states.shape[1], mask))


def cross_attention(p, text, image):
    masks = slow.sees(WORDS, text.mask), slow.sees(WORDS, image.mask)
    words = slow.bert_layer(
        slow.layer(p["layers"], 0), text.states, masks[0], image.states, masks[1]
    )
    return words, np.asarray(image.states)


def single_stream(p, text, image):
    regions = slow.linear(p["image_projection"], image.states)
    joined = np.concatenate([text.states, regions], 1)
    mask = np.concatenate([text.mask, image.mask], 1)
    states = slow.bert_layer(slow.layer(p["layers"], 0), joined, slow.sees(WORDS + REGIONS, mask))
    return states[:, :WORDS], states[:, WORDS:]


def cross_modal(p, text, image):
    p = slow.layer(p["layers"], 0)

    def read(name, own, other):
        states = attend(p[f"{name}_attention"], own.states, other.states, other.mask)
        return slow.feed_forward(p[f"{name}_feed_forward"], states)

    return read("text", text, image), read("image", image, text)


def cross_modality(p, text, image):
    p = slow.layer(p["layers"], 0)

    def read(name, own, other):
        states = attend(p["cross_attention"], own.states, other.states, other.mask)
        states = attend(p[f"{name}_self_attention"], states, states, own.mask)
        return slow.feed_forward(p[f"{name}_feed_forward"], states)

    return read("text", text, image), read("image", image, text)


def co_attention(p, text, image):
    p = slow.layer(p["run_0_layers"], 0)

    def read(name, own, other):
        stream = p[f"{name}_connection"]
        mask = slow.sees(own.states.shape[1], other.mask)
        attended = slow.attention(stream["attention"], own.states, other.states, mask)
        states = slow.layer_norm(stream["norm"], own.states + attended, 1e-12)
        states = slow.feed_forward(stream["feed_forward"], states)
        mask = slow.sees(states.shape[1], own.mask)
        return slow.bert_layer(p[f"{name}_layer_0"], states, mask)

    return read("text", text, image), read("image", image, text)


SLOW = [cross_attention, single_stream, cross_modal, cross_modality, co_attention]


@pytest.mark.parametrize("exact", SLOW, ids=lambda f: f.__name__)
def test_equals_float64(exact):
    rng = np.random.default_rng()
    fusion = exact.__name__
    image, text = inputs(fusion, rng)
    variables = random_variables(module_of(fusion), rng, image, text)
    fused, _ = run(fusion, variables, (image, text))
    words, regions = exact(variables["params"], text, image)
    np.testing.assert_allclose(fused.text.states, words, atol=5e-5)
    np.testing.assert_allclose(fused.image.states, regions, atol=5e-5)


def test_every_fusion_is_compared_with_something():
    assert {f.__name__ for f in SLOW} == FUSIONS.keys() - {"two_image_cross_attention"}


def shapes(fusion, images=None, **changes):
    """Returns (fused, parameters) as shapes for images of a width, without computing."""
    *given, text = inputs(fusion, np.random.default_rng())
    if images:
        given = [random_tokens(np.random.default_rng(), BATCH, REGIONS, images)]
    module = module_of(fusion, **changes)
    init = lambda: module.init_with_output(jax.random.key(0), *given, text)
    fused, variables = jax.eval_shape(init)
    return fused, variables["params"]


@pytest.mark.parametrize("fusion", FUSIONS)
def test_each_stream_keeps_its_width(fusion):
    fused, _ = shapes(fusion)
    of_image = WIDTH if fusion == "single_stream" else image_width(fusion)
    assert fused.text.states.shape == (BATCH, WORDS, WIDTH)
    assert fused.image.states.shape == (BATCH, REGIONS, of_image)


def test_shared_attention_needs_equal_widths():
    with pytest.raises(ValueError, match="needs equal widths; text has 16, image has 12"):
        shapes("cross_modality", images=12)


def test_layers_between_connections():
    _, params = shapes("co_attention", layers=2, image_layers=(2, 0), text_layers=(0, 1))
    layers = {run: {name for name in params[run] if "layer" in name} for run in params}
    assert layers == {
        "run_0_layers": {"image_layer_0", "image_layer_1"},
        "run_1_layers": {"text_layer_0"},
    }
    message = r"fusion_args.image_layers = \(1, 2, 3\): expected one number for each of the 2 conn"
    with pytest.raises(ValueError, match=message):
        shapes("co_attention", layers=2, image_layers=(1, 2, 3))


@pytest.mark.parametrize(("inner", "expected"), [({}, 12), ({"width": 8}, 8)])
def test_width_of_the_co_attention(inner, expected):
    _, params = shapes("co_attention", **inner)
    for stream in ("text_connection", "image_connection"):
        shape = params["run_0_layers"][stream]["attention"]["query"]["kernel"].value.shape
        assert shape[2] * shape[3] == expected


def test_images_as_wide_as_text_are_not_projected():
    assert "image_projection" not in shapes("single_stream", images=WIDTH)[1]
    assert "image_projection" in shapes("single_stream")[1]


def test_one_norm_over_the_joined_embeddings():
    assert "embedding_norm" in shapes("single_stream", embedding_norm=True)[1]


def test_a_joint_mask_replaces_that_of_the_tokens():
    rng = np.random.default_rng()
    image, text = inputs("single_stream", rng, full=True)
    module = module_of("single_stream")
    variables = random_variables(module, rng, image, text)
    blind = np.ones((BATCH, WORDS + REGIONS, WORDS + REGIONS), bool)
    blind[:, :WORDS, WORDS:] = False
    apply = jax.jit(lambda *streams: module.apply(variables, *streams, joint_mask=blind))
    other = Tokens(image.states + 1, image.mask)
    one, two = apply(image, text), apply(other, text)
    np.testing.assert_array_equal(one.text.states, two.text.states)
    assert np.abs(one.image.states - two.image.states).max() > 1e-3


def test_equal_periods_are_one_stack():
    _, params = shapes("co_attention", layers=4, image_layers=(0, 1, 1, 1), text_layers=(1,) * 4)
    lengths = {
        run: p["text_connection"]["norm"]["bias"].value.shape[0] for run, p in params.items()
    }
    assert lengths == {"run_0_layers": 1, "run_1_layers": 3}
    found = places(4, (0, 1, 1, 1))
    assert [place.connection for place in found] == [
        "run_0_layer_0",
        "run_1_layer_0",
        "run_1_layer_1",
        "run_1_layer_2",
    ]
    assert found[0].image == () and found[3].image == ("run_1_layer_2/image_layer_0",)


@pytest.mark.parametrize(
    ("field", "fusion"),
    [("heads", f) for f in FUSIONS] + [(n, "co_attention") for n in ("connection_heads",)],
)
def test_heads_that_do_not_divide_the_width_are_named(field, fusion):
    streams = inputs(fusion, np.random.default_rng())
    with pytest.raises(
        ValueError, match=rf"5 attention heads \(config.model.fusion_args.{field}\)"
    ):
        jax.eval_shape(
            lambda: Within(module_of(fusion, **{field: 5})).init(jax.random.key(0), *streams)
        )
