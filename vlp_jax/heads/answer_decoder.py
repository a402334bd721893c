"""Answers as text: a causal BERT that reads the question's states (ALBEF section 5, VQA)."""

from typing import Any

import flax.linen as nn
import jax
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


@HEADS.register("answer_decoder")
@HEADS.register("answer")
class AnswerDecoder(Head):
    """Next-word logits [N, L, V] for answers, each decoded from its question.

    It has embeddings of its own, to which the output is tied, and is as wide as the question's
    states. Every layer attends to the answer so far and to the question. Training fills in
    `vocab_size` from the tokenizer.
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
        ids: Int[Array, "n l"],
        mask: Bool[Array, "n l"],
        question: Tokens,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "n l v"]:
        width = question.states.shape[-1]
        word = Embedding(self.vocab_size, width, frozen_first_row=True, name="word")
        states = self._embed(word(ids), deterministic)
        causal = jnp.tril(jnp.ones((ids.shape[1], ids.shape[1]), bool))
        block = BertLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        inputs = causal[None] & mask[:, None], question.states, question.mask
        states = stack(states, *inputs, deterministic=deterministic)
        return MaskedTextHead(self.epsilon, name="words")(states, word.table)

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "n l v"]:
        """Reads the question after the fusion; the answer is blank and as long as the question."""
        question = reading.fused[0].text
        blank = jnp.zeros_like(question.mask, jnp.int32)
        return self(blank, question.mask, question, deterministic=deterministic)

    def _embed(self, words: Float[Array, "n l d"], deterministic: bool) -> Float[Array, "n l d"]:
        length, width = words.shape[1:]
        if length > self.max_length:
            raise ValueError(
                f"an answer of {length} tokens exceeds the {self.max_length} positions of the "
                "answer decoder (max_length)"
            )
        position = Embedding(self.max_length, width, axes=("length", "embed"), name="position")
        type_ = Embedding(self.types, width, axes=(None, "embed"), name="type")
        states = words + position(jnp.arange(length)[None])
        states = states + type_(jnp.zeros((1, length), jnp.int32))
        states = LayerNorm(self.epsilon, name="norm")(states)
        return nn.Dropout(self.dropout)(states, deterministic=deterministic)


def shifted(
    logits: Float[Array, "*b l v"], ids: Int[Array, "*b l"], mask: Bool[Array, "*b l"]
) -> tuple[Float[Array, "*b k v"], Int[Array, "*b k"], Bool[Array, "*b k"]]:
    """Returns logits [.., L-1, V], the word that follows each position, and whether it counts."""
    return logits[..., :-1, :], ids[..., 1:], mask[..., 1:]


def answer_log_likelihood(
    logits: Float[Array, "*b l v"], ids: Int[Array, "*b l"], mask: Bool[Array, "*b l"]
) -> Float[Array, "*b"]:
    """Returns the summed log probability of every answer's words after its first token."""
    logits, words, counts = shifted(logits, ids, mask)
    log_probabilities = jax.nn.log_softmax(logits)
    words = jnp.take_along_axis(log_probabilities, words[..., None], axis=-1)[..., 0]
    return jnp.where(counts, words, 0.0).sum(-1)


def ranking_scores(
    first_probabilities: Float[Array, "*b k"],
    log_likelihoods: Float[Array, "*b k"],
    count_first_word_twice: bool = True,
) -> Float[Array, "*b k"]:
    """Returns scores of answers, whose softmax is their probability.

    ALBEF's `rank_answer` adds the first word's log probability to the log likelihood, which
    contains it already; `count_first_word_twice=False` leaves that out.
    """
    if count_first_word_twice:
        return log_likelihoods + jnp.log(first_probabilities)
    return log_likelihoods


def rank_answers(
    first_probabilities: Float[Array, "b a"],
    log_likelihoods: Float[Array, "b a"],
    k: int,
    count_first_word_twice: bool = True,
) -> tuple[Int[Array, "b k"], Float[Array, "b k"]]:
    """Returns the k best answers, best first, and their probabilities among those k.

    The k answers with the likeliest first word are scored by `ranking_scores`. Equal answers keep
    the list's order.

    Args:
      first_probabilities: probability of each answer's first word after [CLS].
      log_likelihoods: `answer_log_likelihood` of each answer.
      k: how many answers to keep.
      count_first_word_twice: as published.
    """
    likely, kept = jax.lax.top_k(first_probabilities, k)
    likelihoods = jnp.take_along_axis(log_likelihoods, kept, axis=-1)
    scores = ranking_scores(likely, likelihoods, count_first_word_twice)
    probabilities, order = jax.lax.top_k(jax.nn.softmax(scores), k)
    return jnp.take_along_axis(kept, order, axis=-1), probabilities
