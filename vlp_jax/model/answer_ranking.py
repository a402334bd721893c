"""Scores of a closed list of answers by the decoder that writes answers (ALBEF section 5, VQA)."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.heads.answer_decoder import answer_log_likelihood, ranking_scores
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.model.model import VisionLanguageModel


def ranked_answer_scores(
    model: VisionLanguageModel,
    params: Any,
    questions: Tokens,
    images: Tokens,
    ids: Int[Array, "a l"],
    mask: Bool[Array, "a l"],
    keep: int = 128,
) -> Float[Array, "b a"]:
    """Returns a score for each answer of the list; -inf for all but the `keep` likeliest.

    These are chosen by the probability of their first word, and scored by `ranking_scores`, whose
    softmax is the probability among them. Questions are decoded one after the other, as the words
    of 128 answers to many at once would not fit.

    Args:
      model, params: a model with the head "answer".
      questions, images: encoded, one of each a row.
      ids, mask: the answers, `[CLS] words [SEP]`.
      keep: as published; all answers if the list is shorter.
    """
    ids, mask = jnp.asarray(ids), jnp.asarray(mask)
    apply = lambda *inputs, method: model.apply({"params": params}, *inputs, method=method)
    fused = apply(questions, images, method=VisionLanguageModel.fuse)
    start = jnp.broadcast_to(ids[0, 0], (len(questions.mask), 1, 1))
    first = apply(fused, start, jnp.ones_like(start, bool), method=VisionLanguageModel.answer_words)
    probabilities = jax.nn.softmax(first[:, 0, 0])[:, ids[:, 1]]
    likely, kept = jax.lax.top_k(probabilities, min(keep, len(ids)))

    def likelihoods(row: tuple[Fused, Array]) -> Float[Array, "k"]:
        question, chosen = row
        words = ids[chosen][None], mask[chosen][None]
        single = jax.tree.map(lambda x: x[None], question)
        logits = apply(single, *words, method=VisionLanguageModel.answer_words)
        return answer_log_likelihood(logits, *words)[0]

    scores = ranking_scores(likely, jax.lax.map(likelihoods, (fused, kept)))
    every = jnp.full(probabilities.shape, -jnp.inf)
    return jnp.put_along_axis(every, kept, scores, axis=-1, inplace=False)
