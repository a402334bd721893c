"""Word-region alignment: what belongs together is near in optimal transport (UNITER)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count, Positive
from vlp_jax.data.input_rules import InputRules
from vlp_jax.losses.cross_entropy import masked_mean
from vlp_jax.losses.optimal_transport import alignment_loss, transport_distance
from vlp_jax.model import CAPTION
from vlp_jax.tasks.base import TASKS, Result, Step, Task, check_others
from vlp_jax.tasks.matching import swapped_pairs
from vlp_jax.tasks.texts import needed


@TASKS.register("alignment")
@dataclass(frozen=True)
class AlignmentTask(Task):
    """Draws words and regions of matched pairs together, and of swapped pairs apart (section 3.2).

    It sees the pairs of `itm` with `negatives` = "swapped", in the same pass; UNITER adds it to
    that loss with a weight of 0.1. `beta`, `iterations` and `inner` are those of
    `transport_distance`; [CLS] and [SEP] count as words.
    """

    beta: Positive = 0.5
    iterations: Count = 50
    inner: Count = 1

    title = "Word-region alignment"
    metrics = {
        "matched_distance": "Distance of matched pairs",
        "swapped_distance": "Distance of swapped pairs",
    }

    @property
    def reads(self) -> frozenset[str]:
        """The caption and which images are the same."""
        return needed(CAPTION) | {"image_id"}

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """Swapped pairs are of one batch."""
        check_others(path, self.batch_sizes(config))

    def input_rules(self, rules: InputRules) -> InputRules:
        """The plan of the trained model says something."""
        return replace(rules, aligned=True)

    def loss(self, step: Step) -> Result:
        """The signed mean distance of all pairs."""
        fused, matched = swapped_pairs(step.views)
        distance = transport_distance(
            fused.text, fused.image, self.beta, self.iterations, self.inner
        )
        metrics = {
            "matched_distance": masked_mean(distance, matched),
            "swapped_distance": masked_mean(distance, ~matched),
        }
        return Result(alignment_loss(distance, matched), metrics)
