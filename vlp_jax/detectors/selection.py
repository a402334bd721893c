"""Which proposals of bottom-up attention become regions: by its own rule, and by its ports'."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.detectors.boxes import CAFFE, Sides
from vlp_jax.detectors.suppression import suppress, suppress_by_class


class LadderRule(NamedTuple):
    """Suppression over all classes, by one threshold after the other until enough regions stay.

    `least` is enough, `most` the largest number; if the last threshold does not give enough, it is
    what it gives. Source: LXMERT's feature extraction (Tan & Bansal 2019).
    """

    least: int = 36
    most: int = 36
    thresholds: tuple[float, ...] = (0.5, 0.6, 0.7)


class ConfidenceRule(NamedTuple):
    """Suppression class by class; regions are what some class finds with `score`.

    From `least` to `most` of them; `overlap` is the one above which the lower of two goes. Source:
    bottom-up attention (Anderson et al. 2018), `generate_tsv.py`.
    """

    least: int = 36
    most: int = 36
    score: float = 0.2
    overlap: float = 0.3
    sides: Sides = CAFFE


Rule = LadderRule | ConfidenceRule


class Selected(NamedTuple):
    """Regions in their order; what is not in the mask is padding.

    Attributes:
      rows: which proposals they are.
      scores: what they were chosen by.
      threshold: the one of a ladder that was taken, by number.
    """

    rows: Int[Array, "k"]
    scores: Float[Array, "k"]
    mask: Bool[Array, "k"]
    threshold: Int[Array, ""]


def by_ladder(
    boxes: Float[Array, "n 4"],
    shares: Float[Array, "n c"],
    mask: Bool[Array, "n"],
    rule: LadderRule,
) -> Selected:
    """Returns regions in descending order of their best class's probability.

    `boxes` are those of the best class, `shares` the probabilities of all but the background.
    """
    best = shares.max(axis=1)
    stays = jnp.stack([suppress(boxes, best, mask, t) for t in rule.thresholds])
    enough = stays.sum(axis=1) >= rule.least
    taken = jnp.where(enough.any(), enough.argmax(), len(rule.thresholds) - 1)
    rows = jnp.argsort(jnp.where(stays[taken], -best, jnp.inf), stable=True)[: rule.most]
    return Selected(rows, best[rows], stays[taken][rows], taken)


def by_confidence(
    boxes: Float[Array, "n 4"],
    shares: Float[Array, "n c"],
    mask: Bool[Array, "n"],
    rule: ConfidenceRule,
) -> Selected:
    """Returns regions in the order of the proposals, or descending where their number is forced.

    Of equal scores the later one comes first, as in a reversed ascending sort.
    """
    stays = suppress_by_class(boxes, shares, mask, rule.overlap, rule.sides)
    best = jnp.where(mask, jnp.where(stays, shares, 0.0).max(axis=1), -1.0)
    kept = best >= rule.score
    count = jnp.clip(kept.sum(), rule.least, rule.most)
    in_order = jnp.argsort(~kept, stable=True)
    descending = jnp.argsort(best, stable=True)[::-1]
    rows = jnp.where(count == kept.sum(), in_order, descending)[: rule.most]
    valid = (jnp.arange(len(rows)) < count) & mask[rows]
    return Selected(rows, best[rows], valid, jnp.zeros((), jnp.int32))
