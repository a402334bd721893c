"""Texts of a tiny decoder: as by a plain loop that decodes the whole text for every word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from tests.model.tiny import BLOCK, VOCABULARY, random_batch, random_params, tiny_model
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import Views
from vlp_jax.tasks.decoding import decoded_texts, decoder_writer, next_words
from vlp_jax.tasks.search import Search, SpecialIds, Writer, write

SPECIAL, LENGTH, MOST = SpecialIds(start=1, end=2, mask=3), 7, 8


@pytest.fixture(scope="module")
def views():
    """Of two pictures, for a decoder of two layers."""
    decoder = dict(vocab_size=VOCABULARY, layers=2, max_length=MOST) | BLOCK
    model, rng = tiny_model(heads={"caption": decoder}), np.random.default_rng()
    params = jax.tree.map(lambda x: 3 * x, random_params(model, rng))
    return Views(model, params, {"image": random_batch(rng, size=2)["image"]})


def whole_writer(model, params, context):
    """Remembers nothing: each word is read off what the decoder says of the whole text."""

    def predict(texts, position, memory):
        each = jax.tree.map(lambda x: jnp.repeat(x, len(texts) // len(x), axis=0), context)
        inputs = texts, jnp.arange(texts.shape[1])[None] < position + 0 * texts, each
        logits = model.apply({"params": params}, *inputs, head="caption", method=next_words)
        return jax.nn.log_softmax(jnp.take(logits, position - 1, axis=1)), memory

    return Writer(predict)


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_kept_changes_no_word(views, beams):
    search = Search(LENGTH, beams=beams, min_length=5)
    run = lambda writer: write(writer, views.size, search, SPECIAL)
    model, params, image = views.model, views.params, views.image()
    found = jax.jit(lambda: run(decoder_writer(model, params, "caption", image)))()
    plain = jax.jit(lambda: run(whole_writer(model, params, image)))()
    np.testing.assert_array_equal(found.ids, plain.ids)
    np.testing.assert_allclose(found.scores, plain.scores, atol=1e-5)
    assert found.scores[0] != found.scores[1]


def test_padding_of_the_context_changes_nothing(views):
    search = dict(head="caption", search=Search(LENGTH, beams=2), special=SPECIAL)
    short, extra = views.image(), jnp.full((2, 3, views.image().states.shape[-1]), 9.0)
    padded = short.concatenate(Tokens(extra, jnp.zeros((2, 3), bool)))
    for_both = jax.jit(lambda x: decoded_texts(views, x, **search))
    found, other = for_both(short), for_both(padded)
    np.testing.assert_array_equal(found.ids, other.ids)
    np.testing.assert_allclose(found.scores, other.scores, atol=1e-5)


def test_the_context_is_projected_once_and_a_word_is_one_token(views):
    """Of the products in the loop none has the context's positions but its two attentions."""
    image, model = views.image(), views.model
    count = image.mask.shape[1]
    writer = decoder_writer(model, views.params, "caption", image)
    memory = writer.begin(2, LENGTH)
    made = jax.make_jaxpr(writer.predict)(jnp.ones((2, LENGTH), int), 3, memory)
    shapes = [shape_of(x) for eqn in products(made.jaxpr) for x in eqn.outvars]
    assert shapes and not [s for s in shapes if count in s[:2]]


def shape_of(value):
    return value.aval.shape


def products(jaxpr):
    """Yields every matrix product of a program, those of its loops too."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from products(inner)


def test_a_text_longer_than_the_decoder_is_refused(views):
    search = Search(MOST + 1, beams=1)
    with pytest.raises(ValueError, match="9 tokens exceeds the 8 positions"):
        decoded_texts(views, views.image(), head="caption", search=search, special=SPECIAL)


def test_a_model_without_the_decoder_is_refused(views):
    with pytest.raises(ValueError, match='no head "answer"; it has caption'):
        decoder_writer(views.model, views.params, "answer", views.image())
