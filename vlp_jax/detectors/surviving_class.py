"""VinVL's selection of regions: suppression class by class, then each proposal's best class.

It is the rule of bottom-up attention (Anderson et al. 2018), always in descending order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.detectors.suppression import suppress_by_class


class SurvivorRule(NamedTuple):
    """How many regions stay: those of `score` and more, but from `least` to `most` of them.

    `overlap` is the one above which the lower of two goes, within each class.
    """

    least: int = 10
    most: int = 100
    score: float = 0.2
    overlap: float = 0.3


class Chosen(NamedTuple):
    """Regions in descending order of score; what is not in the mask is padding.

    Attributes:
      rows: which proposals they are.
      labels: classes, from 1 on; 0 is the background.
    """

    rows: Int[Array, "k"]
    labels: Int[Array, "k"]
    scores: Float[Array, "k"]
    mask: Bool[Array, "k"]


def best_survivors(
    boxes: Float[Array, "n c 4"] | Float[Array, "n 1 4"],
    shares: Float[Array, "n c"],
    mask: Bool[Array, "n"],
    rule: SurvivorRule = SurvivorRule(),
) -> Chosen:
    """Returns the chosen ones of the proposals in `mask`.

    Boxes are one a class or one for all; `shares` are probabilities, background first.
    Source: scene_graph_benchmark's `PostProcessor` with `NMS_FILTER` 1.
    """
    of_class = boxes[:, 0] if boxes.shape[1] == 1 else boxes[:, 1:]
    stays = suppress_by_class(of_class, shares[:, 1:], mask, rule.overlap)
    surviving = jnp.where(stays, shares[:, 1:], 0.0)
    best = jnp.max(surviving, axis=1)
    scores, rows = jax.lax.top_k(best, min(rule.most, len(best)))
    count = jnp.clip(jnp.count_nonzero(best >= rule.score), rule.least, rule.most)
    labels = 1 + jnp.argmax(surviving[rows], axis=1)
    return Chosen(rows, labels, scores, (jnp.arange(len(rows)) < count) & (scores > 0))
