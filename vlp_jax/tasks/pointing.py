"""Pointing (Visual7W, GuessWhat): which of a picture's annotated boxes does a text ask for?"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import Field
from vlp_jax.data.boxes import unit_boxes
from vlp_jax.data.entry import take
from vlp_jax.data.records import spread_rows
from vlp_jax.data.region_fields import RegionReader, Regions
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.layers.attention import MASKED_SCORE
from vlp_jax.losses.answers import answer_loss
from vlp_jax.metrics.figures import figure, figure_names
from vlp_jax.metrics.refcoco import referring_iou
from vlp_jax.model import CAPTION, Views
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.decisions import REGION_HEADS, head_logits
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import Outcome, TableRow
from vlp_jax.tasks.referring import FOUND, check_boxes_stay, pixel_boxes
from vlp_jax.tasks.texts import needed

MASK = "candidate_mask"
OVERLAPS = "candidate_overlaps"


@dataclass(frozen=True)
class CandidateRegions(Transform):
    """Puts annotated boxes of a picture behind its regions, in `slots` rows that they have alone.

    So the first of them is at the same place in every picture, however many regions that has. A
    record has them as "candidates", like a picture's regions; "candidate_rows" are those among
    which a text chooses, "right_row" the one it means. Those without features get the `pixels` ×
    `pixels` that they show.
    """

    slots: int
    pixels: int = 0

    makes = {
        MASK: Field(("bool",), ("B", "G"), "True = annotated box that may be chosen"),
        OVERLAPS: Field(("float32",), ("B", "G"), "its overlap with the right one"),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        given = take(example.record, "candidates")
        regions = self._regions(given, example)
        places = {int(row): place for place, row in enumerate(regions.kept)}
        right = take(example.record, "right_row")
        if right not in places:
            raise ValueError(
                f"the right box is number {right} of the picture, and {len(places)} are shown"
            )
        mask = np.zeros(self.slots, np.bool_)
        rows = take(example.record, "candidate_rows")
        mask[[places[row] for row in rows if row in places]] = True
        size = np.array([take(given, "width"), take(given, "height")], np.float64)
        boxes = pixel_boxes(regions.fields["region_boxes"], size)
        overlaps = np.zeros(self.slots, np.float32)
        overlaps[: len(boxes)] = referring_iou(boxes, boxes[places[right]])
        shown = {name: x for name, x in example.items() if _is_of_regions(name, x)}
        made = {MASK: mask, OVERLAPS: np.where(mask, overlaps, np.float32(0))}
        return behind(shown, regions.fields, self.slots) | made

    def _regions(self, given: Mapping[str, Any], example: Example) -> Regions:
        reader = RegionReader(self.slots, self.pixels)
        if "region_features" in given:
            return reader.of_detector(given, frozenset())
        boxes = unit_boxes(*(take(given, name) for name in ("boxes", "width", "height")))
        return reader.of_picture(given, example["image"], boxes, frozenset())


def _is_of_regions(name: str, value: Any) -> bool:
    return name.startswith("region_") and isinstance(value, np.ndarray)


def behind(
    shown: Mapping[str, np.ndarray], further: Mapping[str, np.ndarray], slots: int
) -> dict[str, np.ndarray]:
    """Returns region fields [R + slots, …] of regions [R, …] and of others [N, …] behind them.

    A field that those behind do not have is 0 there; of "region_mask" the first N are True.
    """
    count = len(further["region_boxes"])
    own = {**further, "region_mask": np.ones(count, np.bool_)}
    made = {}
    for name, values in shown.items():
        padded = np.zeros((slots, *values.shape[1:]), values.dtype)
        if name in own:
            padded[:count] = own[name]
        made[name] = np.concatenate([values, padded])
    return made


def candidate_logits(views: Views, head: str) -> Float[Array, "b g"]:
    """Returns the score of each candidate; -1e4 where there is none that may be chosen."""
    mask = views.batch[MASK]
    return jnp.where(mask, head_logits(views, head)[:, -mask.shape[1] :], MASKED_SCORE)


@dataclass(frozen=True)
class PointingEvaluation(Evaluation):
    """The share of texts whose box is chosen, beside one drawn among the candidates.

    The blind guess takes the place among the candidates that is commonest in training, looked for
    in `baseline_records` of its records.
    """

    limit: Count | None = None
    baseline_records: Count = 2000

    needs = ("caption", "candidates")

    def figures(self, name: str) -> frozenset[str]:
        return figure_names(f"{name}_accuracy")

    def __call__(self, run: Run, name: str) -> Outcome:
        source, score = run.source(self), partial(candidate_logits, head=run.task.head)
        keep = lambda logits, batch: (logits.argmax(1), batch[OVERLAPS], batch[MASK])
        rows, chosen, overlaps, mask = run.collect(source, self.limit, score, keep)
        accuracy = float((chosen == overlaps.argmax(1)).mean())
        chance = float((1 / mask.sum(1)).mean())
        usual = self._commonest_place(run)
        places = [_place(record) for record in run.annotations(source, rows).values()]
        blind, which = float(np.mean([place == usual for place in places])), "commonest place"
        note = f"blind: the {which}; {len(rows)} texts"
        title, group = f"Pointed at ({self.split})", run.task.title
        row = TableRow(title, accuracy, chance, blind, note, group, headline=True)
        return Outcome(figure(f"{name}_accuracy", accuracy, chance, blind, which), [row])

    def _commonest_place(self, run: Run) -> int:
        train = run.training_source(self)
        taken = spread_rows(len(train), self.baseline_records)
        counts = Counter(map(_place, run.annotations(train, taken).values()))
        return max(counts, key=counts.get, default=0)


def _place(record: Mapping[str, Any]) -> int:
    """Returns which of the candidates, in their order, is the right one."""
    return list(take(record, "candidate_rows")).index(take(record, "right_row"))


@TASKS.register("pointing")
@dataclass(frozen=True)
class PointingTask(Task):
    """Choose the annotated box that a question, or a dialogue, is about.

    The loss is binary cross-entropy of the candidates against their overlaps with the right one, 0
    below a half, summed over them (ViLBERT 12-in-1). slots: rows behind the regions for annotated
    boxes of a picture, whether or not they may be chosen. head: the one that scores regions.
    """

    evaluate: dict[str, PointingEvaluation] = field(default_factory=dict)
    slots: Count = 99
    head: str = REGION_HEADS[-1]

    title = "Pointing"
    metrics = {"pointing_accuracy": "Texts whose box is chosen"}
    verbs = ("point",)

    @property
    def reads(self) -> frozenset[str]:
        """The text, the regions, and which of them may be chosen."""
        return needed(CAPTION) | {"region_mask", MASK, OVERLAPS}

    def check(self, path: str, config: ExperimentConfig, tasks) -> None:
        """A picture whose regions move would lose the right box."""
        check_boxes_stay(path, config)

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The candidates."""
        if "candidates" not in feed.provides or not feed.has_regions:
            return ()
        return (CandidateRegions(self.slots, feed.config.region_pixels),)

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The one that scores regions."""
        return {self.head: HeadNeed("region_scores")}

    def loss(self, step: Step) -> Result:
        """The mean over texts."""
        logits, overlaps = candidate_logits(step.views, self.head), step.views.batch[OVERLAPS]
        loss = answer_loss(logits, jnp.where(overlaps >= FOUND, overlaps, 0.0), "bce")
        right = jnp.argmax(logits, -1) == jnp.argmax(overlaps, -1)
        return Result(loss, {"pointing_accuracy": right.astype(jnp.float32).mean()})
