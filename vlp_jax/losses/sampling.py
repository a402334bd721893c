"""Draws of negatives: for each row of a batch another column, never of the same image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def sample_negatives(
    key: Array, logits: Float[Array, "b b"], ids: Int[Array, "b"]
) -> Int[Array, "b"]:
    """Draws for each row another column with probability ∝ exp(logits), never the same image.

    The own image is masked in log space, so that the draw cannot fail however peaked the
    similarities are. A batch in which all images are the same falls back to the next column.
    """
    same = ids[:, None] == ids[None]
    drawn = jax.random.categorical(key, jnp.where(same, -jnp.inf, logits))
    following = (jnp.arange(len(ids)) + 1) % len(ids)
    return jnp.where(same.all(-1), following, drawn)


def sample_distinct(
    key: Array, logits: Float[Array, "r b"], same: Bool[Array, "r b"], count: int
) -> Int[Array, "r n"]:
    """Draws for each row `count` different columns, one after the other by exp(logits).

    Columns of the `same` image are drawn only where there are too few others.
    """
    # Gumbel's maximum draws one by the weights, the largest draw several without replacement.
    noisy = logits + jax.random.gumbel(key, logits.shape)
    return jax.lax.top_k(jnp.where(same, -jnp.inf, noisy), count)[1]


def negative_weights(logits: Float[Array, "b b"], ids: Int[Array, "b"]) -> Float[Array, "b b"]:
    """Returns the weights by which ALBEF draws a negative column for each row.

    They are softmax(logits) with the same image's columns at zero, not normalised again, which is
    what `sample_negatives` draws by in log space: a row whose own column has all of the softmax
    has no weight left here, and the original stops with an error.
    """
    same = ids[:, None] == ids[None]
    return jnp.where(same, 0.0, jax.nn.softmax(logits))
