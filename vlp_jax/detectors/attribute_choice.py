"""Which attributes VinVL's detector gives to the regions of one picture."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class AttributeRule(NamedTuple):
    """How attributes are chosen.

    Attributes:
      threshold: what a probability must be above.
      per_picture, per_region: at most so many of them.
    """

    threshold: float = 0.05
    per_picture: int = 100
    per_region: int = 16


def choose_attributes(
    logits: Float[Array, "k a"], mask: Bool[Array, "k"], rule: AttributeRule = AttributeRule()
) -> tuple[Int[Array, "k m"], Float[Array, "k m"]]:
    """Returns the likeliest attributes of each region, and their probabilities; -1 and 0 for none.

    The first column, "no attribute", takes its part of the probability and is never chosen. Source:
    scene_graph_benchmark's `AttributePostProcessor`.
    """
    shares = jax.nn.softmax(logits).at[:, 0].set(0.0)
    shares = jnp.where(mask[:, None] & (shares > rule.threshold), shares, 0.0)
    shares = jnp.where(shares < _least(shares, mask, rule.per_picture), 0.0, shares)
    scores, labels = jax.lax.top_k(shares, min(rule.per_region, logits.shape[-1]))
    return jnp.where(scores > 0, labels, -1), scores


def _least(shares: Array, mask: Array, most: int) -> Float[Array, ""]:
    """Returns the share below which attributes go where a picture has more than `most`.

    The original counts from the smallest of all entries, which nearly always is a zero and cuts
    nothing; published features have that many attributes.
    """
    excess = jnp.count_nonzero(shares) - most
    ascending = jnp.sort(jnp.where(mask[:, None], shares, jnp.inf).ravel())
    return jnp.where(excess > 0, ascending[jnp.maximum(excess, 0)], 0.0)
