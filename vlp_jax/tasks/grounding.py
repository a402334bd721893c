"""Grounding that has learned no boxes: where a model looks to match an expression (ALBEF)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Share
from vlp_jax.data.boxes import check_pixels
from vlp_jax.data.entry import take
from vlp_jax.metrics.figures import figure_names
from vlp_jax.metrics.refcoco import box_under_heat, referring_iou
from vlp_jax.model import Views
from vlp_jax.tasks import matching
from vlp_jax.tasks.base import TASKS, Task
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import Outcome
from vlp_jax.tasks.referring import FOUND, boxes_outcome, right_box
from vlp_jax.tasks.word_maps import gradcam, grid_side, on_grid

AREA_EXPONENT = 0.5
_NO_BOX = np.zeros((1, 4))


def expression_heat(views: Views) -> Float[Array, "b h w"]:
    """Returns how much the words of each caption read each patch to find that it matches.

    Grad-CAM of the logit of "match", summed over the words, [CLS] included. Source: `Grounding.py`
    of salesforce/ALBEF, whose `block_num` 8 is the middle layer of the fusion. ValueError for
    patches that form no square.
    """
    heat = (gradcam(views) * views.text().mask[..., None]).sum(1)
    if grid_side(heat.shape[1]) is None:
        raise ValueError(
            "grounding needs patches that form a square, and the vision encoder gives "
            f"{heat.shape[1]} tokens"
        )
    return on_grid(heat)


@dataclass(frozen=True)
class GroundingEvaluation(Evaluation):
    """The share of expressions whose box overlaps the right one by a half or more (ALBEF).

    Of a detector's boxes the one is taken that holds most heat for its area to the power
    `exponent`; an expression without a box that holds any is not found. It stands beside a box
    drawn at random, and the first of each picture.
    """

    limit: Count | None = None
    exponent: Share = AREA_EXPONENT

    needs = ("image", "caption", "target_box", "proposals")
    heads = (matching.HEAD,)

    def figures(self, name: str) -> frozenset[str]:
        return figure_names(f"{name}_accuracy")

    def __call__(self, run: Run, name: str) -> Outcome:
        source = run.source(self)
        rows, heat = run.collect(source, self.limit, expression_heat, lambda heat, batch: (heat,))
        records = list(run.annotations(source, rows).values())
        boxes = [np.append(record["proposals"], _NO_BOX, axis=0) for record in records]
        best = [self._best(*each) for each in zip(records, boxes, heat)]
        found = [referring_iou(x, right_box(r)) >= FOUND for x, r in zip(boxes, records)]
        shares = (
            float(np.mean([x[i] for x, i in zip(found, best)])),
            float(np.mean([x.sum() / max(len(x) - 1, 1) for x in found])),
            float(np.mean([x[0] for x in found])),
        )
        chosen = [x[i] for x, i in zip(boxes, best)]
        return boxes_outcome(name, self.split, run.task.title, records, chosen, shares)

    def _best(self, record: Mapping[str, Any], boxes: np.ndarray, heat: np.ndarray) -> int:
        width, height = take(record, "picture_size")
        check_pixels(record["proposals"], width, height)
        best = box_under_heat(heat, boxes, height, width, self.exponent)
        return -1 if best is None else best


@TASKS.register("grounding")
@dataclass(frozen=True)
class GroundingTask(Task):
    """Finds what an expression means among a detector's boxes; it trains nothing.

    What a model needs for it is learned by contrast ("itc") and matching ("itm") of pictures and
    expressions, without any box (ALBEF, section 6.5).
    """

    evaluate: dict[str, GroundingEvaluation] = field(default_factory=dict)

    title = "Grounding without boxes"
    trains = False
