"""Texts from a decoder, one word a step: what it has read of context and words is kept."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.layers.attention import CONTEXT, MEMORY
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.search import (
    Constraints,
    Search,
    SpecialIds,
    Writer,
    Written,
    dropout_of,
    write,
)


def next_words(
    model: VisionLanguageModel,
    ids: Int[Array, "n t"],
    mask: Bool[Array, "n l"],
    context: Tokens,
    position: Int[Array, ""] | None = None,
    *,
    head: str,
    deterministic: bool = True,
) -> Float[Array, "n t v"]:
    """Returns a decoder's logits of the word after each; see `heads.decoder.Decoder`."""
    return model.head(head)(ids, mask, context, position, deterministic=deterministic)


def decoder_writer(
    model: VisionLanguageModel, params: Any, head: str, context: Tokens, key: Array | None = None
) -> Writer:
    """Returns what a decoder says of the next word of texts about B contexts.

    Keys and values of the contexts are computed once, those of a word when it has been chosen. With
    a key dropout is on, anew at every word.
    """

    def read(ids: Array, mask: Array, position: Any, changes: list[str], kept: dict) -> Any:
        variables, inputs = {"params": params} | kept, (ids, mask, context, position)
        options = dict(method=next_words, rngs=dropout_of(key, position), mutable=changes)
        return model.apply(variables, *inputs, head=head, deterministic=key is None, **options)

    blank = jnp.zeros((context.mask.shape[0], 1), jnp.int32)
    _, first = read(blank, blank == 0, 0, [CONTEXT, MEMORY], {})

    def begin(texts: int, length: int) -> Any:
        empty = lambda x: jnp.zeros((len(x), texts, length, *x.shape[3:]), x.dtype)
        return jax.tree.map(empty, first.get(MEMORY, {}))

    def predict(texts: Array, position: Array, memory: Any) -> tuple[Array, Any]:
        word = jax.lax.dynamic_slice_in_dim(texts, position - 1, 1, axis=1)
        kept = {CONTEXT: first.get(CONTEXT, {}), MEMORY: memory}
        logits, made = read(word, jnp.ones_like(texts, bool), position - 1, [MEMORY], kept)
        return jax.nn.log_softmax(logits[:, 0]), made.get(MEMORY, {})

    return Writer(predict, begin)


def decoded_texts(
    views: Views, context: Tokens, *, head: str, search: Search, special: SpecialIds
) -> Written:
    """Returns the texts that a decoder writes about each context of a batch.

    ValueError for texts longer than the decoder's positions.
    """
    writer = decoder_writer(views.model, views.params, head, context)
    return write(writer, views.size, search, special, Constraints.of(views.batch))
