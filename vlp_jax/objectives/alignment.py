"""Word-region alignment: what belongs together is near in optimal transport (UNITER)."""

from dataclasses import dataclass

from jaxtyping import Array

from vlp_jax.losses.cross_entropy import masked_mean
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.optimal_transport import alignment_loss, transport_distance
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.pairs import swapped_pairs
from vlp_jax.objectives.views import Views


@OBJECTIVES.register("alignment")
@dataclass(frozen=True)
class AlignmentObjective:
    """Draws words and regions of matched pairs together, and of swapped pairs apart (section 3.2).

    It sees the pairs of `itm` with `negatives` = "swapped", in the same pass; UNITER adds it to
    that loss with a weight of 0.1. `beta`, `iterations` and `inner` are those of
    `transport_distance`; [CLS] and [SEP] count as words.
    """

    weight: float = 1.0
    beta: float = 0.5
    iterations: int = 50
    inner: int = 1

    reads = frozenset({"text_ids", "text_mask", "image_id"})
    metrics = ("matched_distance", "swapped_distance")
    heads = ()

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        fused, matched = swapped_pairs(views)
        distance = transport_distance(
            fused.text, fused.image, self.beta, self.iterations, self.inner
        )
        metrics = {
            "matched_distance": masked_mean(distance, matched),
            "swapped_distance": masked_mean(distance, ~matched),
        }
        return Result(alignment_loss(distance, matched), metrics)
