"""From what a region proposal network says of every anchor to the proposals of one picture."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.detectors.boxes import PLAIN, Sides, clip, decode, large_enough
from vlp_jax.detectors.suppression import suppress


class ProposalRule(NamedTuple):
    """How proposals are chosen.

    Attributes:
      ranked, kept: how many anchors take part in the suppression, and how many proposals it gives.
      threshold: overlap above which the lower of two goes.
      score: what ranks them; the sigmoid is 1 for all logits above 17, whose order is then theirs.
      least_side: pixels of the picture before it was resized below which a box is left out, see
        `large_enough`.
      sides: what a side is in the coder, at the border and for `least_side`; not in the overlap.
    """

    ranked: int = 6000
    kept: int = 300
    threshold: float = 0.7
    score: Literal["logit", "sigmoid"] = "logit"
    least_side: float = 0.0
    sides: Sides = PLAIN


class Proposals(NamedTuple):
    """`kept` boxes in descending order of score; what is not in the mask is padding."""

    boxes: Float[Array, "k 4"]
    scores: Float[Array, "k"]
    mask: Bool[Array, "k"]


@partial(jax.jit, static_argnames="rule")
def propose(
    logits: Float[Array, "n"],
    deltas: Float[Array, "n 4"],
    anchors: Float[Array, "n 4"],
    mask: Bool[Array, "n"],
    size: Float[Array, "2"],
    scale: Float[Array, ""] | float = 1.0,
    rule: ProposalRule = ProposalRule(),
) -> Proposals:
    """Returns the proposals of a picture of `size` = (height, width) pixels.

    `mask` says which anchors are the picture's own; `scale` by how much the picture was enlarged,
    of which `least_side` is a length before. Source: Ren et al. 2015, section 3.3.
    """
    scores = jax.nn.sigmoid(logits) if rule.score == "sigmoid" else logits
    scores = jnp.where(mask, scores, -jnp.inf)
    scores, best = jax.lax.top_k(scores, min(rule.ranked, len(scores)))
    boxes = clip(decode(anchors[best], deltas[best], sides=rule.sides), size, rule.sides)
    valid = (scores > -jnp.inf) & large_enough(boxes, rule.least_side * scale, rule.sides)
    stays = suppress(boxes, scores, valid, rule.threshold)
    return first_rows(Proposals(boxes, scores, stays), rule.kept)


def first_rows(found: Proposals, count: int) -> Proposals:
    """Returns the first `count` rows that are in the mask, with zeros where there are fewer."""
    missing = max(0, count - len(found.mask))
    rows = jnp.argsort(~found.mask, stable=True)[:count]
    boxes, scores, mask = (
        jnp.pad(x[rows], [(0, missing)] + [(0, 0)] * (x.ndim - 1)) for x in found
    )
    return Proposals(jnp.where(mask[:, None], boxes, 0.0), jnp.where(mask, scores, 0.0), mask)
