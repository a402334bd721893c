"""What a decoder says of whole answers: how likely each is, and which rank first (ALBEF's VQA)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


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
