"""Referring expressions (RefCOCO, RefCOCO+, RefCOCOg): which region does an expression mean?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import IGNORE, Field
from vlp_jax.data.entry import take
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import labelled_mean
from vlp_jax.metrics.figures import figure, figure_names
from vlp_jax.metrics.refcoco import referring_iou
from vlp_jax.model import CAPTION
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.decisions import REGION_HEADS, head_logits
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import Outcome, TableRow
from vlp_jax.tasks.texts import needed

FOUND = 0.5  # overlap from which on a region is the one that is meant


@dataclass(frozen=True)
class RegionOverlaps(Transform):
    """Makes `region_overlaps`: how much each region overlaps the one that is meant."""

    makes = {
        "region_overlaps": Field(("float32",), ("B", "R"), "overlap with the region that is meant")
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        size = np.array(take(example.record, "picture_size"), np.float64)
        boxes = pixel_boxes(example["region_boxes"], size)
        overlaps = referring_iou(boxes, right_box(example.record))
        return {"region_overlaps": np.where(example["region_mask"], overlaps, 0).astype(np.float32)}


def right_box(record: Mapping[str, Any]) -> np.ndarray:
    """Returns x, y, width, height in pixels of the box that an expression means."""
    x1, y1, x2, y2 = take(record, "target_box")
    box = np.array([x1, y1, x2, y2, x2 - x1, y2 - y1])
    return pixel_boxes(box, np.array(take(record, "picture_size"), np.float64))


def check_boxes_stay(path: str, config: ExperimentConfig) -> None:
    """Raises ValueError if augmentation moves a picture, with which right boxes do not move."""
    if config.data.augment != "none":
        raise ValueError(
            f"{path}: the right box does not move with config.data.augment = "
            f'"{config.data.augment}"; set augment = "none"'
        )


def pixel_boxes(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Returns x, y, width, height in pixels of boxes [..., 4 or more] in the unit square.

    Where these have their sizes as the file holds them, those count (UNITER).
    """
    low = boxes[..., :2]
    extent = boxes[..., 4:6] if boxes.shape[-1] > 4 else boxes[..., 2:4] - low
    return np.concatenate([low, np.maximum(extent, 0)], axis=-1).astype(np.float64) * np.tile(
        size, 2
    )


@dataclass(frozen=True)
class ReferringEvaluation(Evaluation):
    """The share of expressions whose best region overlaps the right box by a half.

    That share counts an overlap of exactly a half if `inclusive` (ALBEF), else not (UNITER,
    ViLBERT). It stands beside a region drawn at random, and the first region of each picture.
    """

    limit: Count | None = None
    inclusive: bool = False

    needs = ("caption", "target_box")

    def figures(self, name: str) -> frozenset[str]:
        return figure_names(f"{name}_accuracy")

    def __call__(self, run: Run, name: str) -> Outcome:
        source, fields = run.source(self), ("region_overlaps", "region_mask", "region_boxes")
        keep = lambda logits, batch: (logits, *map(batch.get, fields))
        score = partial(head_logits, head=run.task.head)
        rows, logits, overlaps, real, boxes = run.collect(source, self.limit, score, keep)
        records = list(run.annotations(source, rows).values())
        found = overlaps >= FOUND if self.inclusive else overlaps > FOUND
        chosen = np.where(real, logits, -np.inf).argmax(1)
        each = np.arange(len(chosen))
        # Where one stands for the whole picture, the next is a detector's first.
        first = float(found[:, int(run.config.data.global_region)].mean())
        shares = (
            float(found[each, chosen].mean()),
            float((found.sum(1) / np.maximum(real.sum(1), 1)).mean()),
            first,
        )
        sizes = [np.array(record["picture_size"]) for record in records]
        best = [pixel_boxes(box, size) for box, size in zip(boxes[each, chosen], sizes)]
        return boxes_outcome(name, self.split, run.task.title, records, best, shares)


def boxes_outcome(
    name: str,
    split: str,
    group: str,
    records: Sequence[Mapping[str, Any]],
    boxes: Sequence[np.ndarray],
    shares: tuple[float, float, float],
) -> Outcome:
    """Returns figures, a row, and the file of UNITER's `inf_re.py` for a box of each expression.

    boxes: x, y, width, height in pixels. shares: of expressions that are found by the model, by a
    region drawn at random, and by the first region of the picture.
    """
    predictions = [
        {"sent_id": record.get("name"), "pred_box": box.round(2).tolist()}
        for record, box in zip(records, boxes)
    ]
    note = f"blind: the first region; {len(records)} expressions"
    row = TableRow(f"Found ({split})", *shares, note, group, headline=True)
    return Outcome(
        figure(f"{name}_accuracy", *shares, "the first region"),
        [row],
        submissions={f"{name}_predictions.json": json.dumps({"predictions": predictions})},
    )


@TASKS.register("referring")
@dataclass(frozen=True)
class ReferringTask(Task):
    """Choose the region that an expression means, by how much each overlaps the right box.

    form: "ce" is cross-entropy of the region that overlaps most, where one does by a half (UNITER,
    whose training regions hold the right box itself); "bce" binary cross-entropy of every region
    against its overlap, 0 below a half, summed over regions (ViLBERT). head: the one that scores.
    """

    evaluate: dict[str, ReferringEvaluation] = field(default_factory=dict)
    form: Literal["ce", "bce"] = "ce"
    head: str = REGION_HEADS[0]

    title = "Referring expressions"
    metrics = {"referring_accuracy": "Expressions whose region is found"}
    verbs = ("ground",)

    @property
    def reads(self) -> frozenset[str]:
        """The expression, the regions and their overlaps."""
        return needed(CAPTION) | {"region_mask", "region_overlaps"}

    def check(self, path: str, config: ExperimentConfig, tasks) -> None:
        """A picture whose regions move would lose the right box."""
        check_boxes_stay(path, config)

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The overlaps."""
        return (RegionOverlaps(),) if "target_box" in feed.provides and feed.has_regions else ()

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The one that scores regions."""
        return {self.head: HeadNeed("region_scores")}

    def loss(self, step: Step) -> Result:
        """The mean over expressions."""
        views, overlaps = step.views, step.views.batch["region_overlaps"]
        logits = head_logits(views, self.head)
        right = jnp.take_along_axis(overlaps, jnp.argmax(logits, -1)[:, None], axis=-1) >= FOUND
        if self.form == "bce":
            loss = answer_loss(logits, jnp.where(overlaps >= FOUND, overlaps, 0.0), "bce")
        else:
            known = overlaps.max(-1) >= FOUND
            loss = labelled_mean(logits, jnp.where(known, jnp.argmax(overlaps, -1), IGNORE))
        return Result(loss, {"referring_accuracy": right.astype(jnp.float32).mean()})
