"""NLVR2: is a sentence true of two pictures?"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlp_jax.config.ranges import Natural
from vlp_jax.data.assemble import Feed
from vlp_jax.data.input_rules import InputRules
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.metrics.nlvr2 import nlvr2_scores
from vlp_jax.tasks.base import TASKS
from vlp_jax.tasks.classes import ClassEvaluation, ClassTask, Decided, Logits
from vlp_jax.tasks.decisions import REASONING, reasoning_logits

_REGIONS = ("region_features", "region_boxes", "region_mask")


@dataclass(frozen=True)
class PairOfRegions(Transform):
    """Gives the regions of two pictures, [2, R] each, their types; `joined` makes one list of them.

    types: rows of the type table for the first and the second picture, or None.
    """

    types: tuple[int, int] | None
    joined: bool

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        made = {name: example[name] for name in _REGIONS if name in example}
        if self.types is not None:
            shape = example["region_mask"].shape
            made["region_types"] = np.repeat(np.int32(self.types), shape[1]).reshape(shape)
        if self.joined:
            made = {name: x.reshape(-1, *x.shape[2:]) for name, x in made.items()}
        return made


@dataclass(frozen=True)
class ReasoningEvaluation(ClassEvaluation):
    """Accuracy and consistency; decisions are lines `identifier,True`, as officially read."""

    more = ("consistency",)

    def official(self, found: Decided, names: Sequence[str]) -> dict[str, float]:
        """The share of sentences that are judged right of all their pairs."""
        known = [
            (r["name"], n, r) for r, n in zip(found.records, names) if r.get("label") is not None
        ]
        truths = {name: _truth(record["label"]) for name, _, record in known}
        scores = nlvr2_scores(truths, {name: chosen for name, chosen, _ in known})
        return {"consistency": scores.consistency}

    def submission(self, found: Decided, names: Sequence[str]) -> tuple[str, str]:
        """The lines of the official script."""
        return "csv", "".join(f"{r.get('name')},{n}\n" for r, n in zip(found.records, names))


def _truth(label: str | int) -> str:
    return label if isinstance(label, str) else str(bool(label))


@TASKS.register("nlvr2")
@dataclass(frozen=True)
class ReasoningTask(ClassTask):
    """Whether a sentence is true of two pictures.

    region_types: rows of the type table for the regions of the first and the second picture
    (UNITER 1 and 2). joined: whether the regions of both are one list (VisualBERT).
    """

    evaluate: dict[str, ReasoningEvaluation] = field(default_factory=dict)
    region_types: tuple[Natural, ...] = ()
    joined: bool = False

    head = REASONING
    kind = "pair_classifier"
    title = "Two pictures (NLVR2)"
    metrics = {"nlvr2_accuracy": "NLVR2 accuracy"}
    verbs = ("reason",)

    def input_rules(self, rules: InputRules) -> InputRules:
        """Regions of both pictures are shown as in training."""
        return replace(rules, pair_types=self._types, pictures_joined=self.joined)

    @property
    def _types(self) -> tuple[int, int] | None:
        return tuple(self.region_types) or None

    @property
    def class_names(self) -> tuple[str, ...]:
        """False and true."""
        return ("False", "True")

    @property
    def logits(self) -> Logits:
        """What the head says of both pictures."""
        return reasoning_logits

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The label, and the regions of both pictures."""
        if "pictures" not in feed.provides:
            return ()
        labels = super().transforms(feed)
        if not feed.has_regions:
            return labels
        return (*labels, PairOfRegions(self._types, self.joined))
