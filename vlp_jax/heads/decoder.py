"""Texts written from left to right: a causal BERT that reads the states of a context."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.heads.masked_text import MaskedTextHead
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.embedding import Embedding
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Tokens


class Decoder(Head):
    """Next-word logits [N, L, V] of texts; N / B of them, next to each other, read each context.

    It has embeddings of its own, to which the output is tied, and is as wide as the context's
    states. Every layer attends to the text so far and to the context. Training fills in
    `vocab_size` from the tokenizer.

    With a `position` the ids [N, T] are the words from there on of texts of L tokens, L being that
    of the mask, and those before come from earlier calls (see `vlp_jax.layers.attention`).
    """

    vocab_size: Count = 30522
    layers: Natural = 6
    heads: Count = 12
    mlp_width: Count = 3072
    max_length: Count = 512
    types: Count = 2
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    epsilon: Epsilon = BERT_EPSILON
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    sized_by = {"word": "vocab_size"}

    @nn.compact
    def __call__(
        self,
        ids: Int[Array, "n t"],
        mask: Bool[Array, "n l"],
        context: Tokens,
        position: Int[Array, ""] | None = None,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "n t v"]:
        self._check_length(mask.shape[1])
        width = context.states.shape[-1]
        word = Embedding(self.vocab_size, width, frozen_first_row=True, name="word")
        places = jnp.arange(ids.shape[1]) + (0 if position is None else position)
        states = self._embed(word(ids), places, deterministic)
        sees = jnp.arange(mask.shape[1]) <= places[:, None]
        block = BertLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        inputs = sees[None] & mask[:, None], context.states, context.mask, position
        states = stack(states, *inputs, deterministic=deterministic)
        return MaskedTextHead(self.epsilon, name="words")(states, word.table)

    def _check_length(self, length: int) -> None:
        if length > self.max_length:
            raise ValueError(
                f"a text of {length} tokens exceeds the {self.max_length} positions of the "
                "decoder (max_length)"
            )

    def _embed(
        self, words: Float[Array, "n t d"], places: Int[Array, "t"], deterministic: bool
    ) -> Float[Array, "n t d"]:
        width = words.shape[-1]
        position = Embedding(self.max_length, width, axes=("length", "embed"), name="position")
        type_ = Embedding(self.types, width, axes=(None, "embed"), name="type")
        states = words + position(places[None])
        states = states + type_(jnp.zeros((1, len(places)), jnp.int32))
        states = LayerNorm(self.epsilon, name="norm")(states)
        return nn.Dropout(self.dropout)(states, deterministic=deterministic)


@HEADS.register("answer_decoder")
@HEADS.register("answer")
class AnswerDecoder(Decoder):
    """Answers, each decoded from its question's states after the fusion (ALBEF section 5, VQA)."""

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "n l v"]:
        """Reads the question after the fusion; the answer is blank and as long as the question."""
        return _of_blank(self, reading.fused[0].text.mask, reading.fused[0].text, deterministic)


@HEADS.register("caption")
class CaptionDecoder(Decoder):
    """Captions, each decoded from its picture's states before the fusion."""

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "n l v"]:
        """Reads the picture; the caption is blank and as long as the text."""
        return _of_blank(self, reading.texts[0].mask, reading.images[0], deterministic)


def _of_blank(decoder: Decoder, mask: Bool[Array, "b l"], context: Tokens, deterministic: bool):
    return decoder(jnp.zeros_like(mask, jnp.int32), mask, context, deterministic=deterministic)
