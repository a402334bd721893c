"""Grounding that has learned no boxes: where a model looks to match an expression (ALBEF)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Share
from vlp_jax.data.entry import take
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Tokens
from vlp_jax.metrics.figures import figure_names
from vlp_jax.metrics.refcoco import box_under_heat, referring_iou
from vlp_jax.model import Views
from vlp_jax.model.heat_maps import heat_maps
from vlp_jax.tasks import matching
from vlp_jax.tasks.base import TASKS, Task
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import Outcome
from vlp_jax.tasks.referring import FOUND, boxes_outcome, right_box

AREA_EXPONENT = 0.5
_NO_BOX = np.zeros((1, 4))


def expression_heat(views: Views) -> Float[Array, "b h w"]:
    """Returns how much the words of each caption read each patch to find that it matches.

    Grad-CAM of the logit of "match", summed over the words, [CLS] included; the image's first
    token, which is no patch, is left out. Source: `Grounding.py` of salesforce/ALBEF, whose
    `block_num` 8 is the middle layer of the fusion. ValueError for patches that form no square.
    """
    text = views.text()
    heat = heat_maps(views.model, views.params, _match_logit, views.image(), text)
    return _square((heat * text.mask[..., None]).sum(1)[:, 1:])


def _match_logit(model: nn.Module, image: Tokens, text: Tokens) -> Float[Array, "b"]:
    logits = model.read(matching.HEAD, Reading((), (), (model.fuse(image, text),)))
    return logits[:, model.head(matching.HEAD).match_index]


def _square(heat: Float[Array, "b p"]) -> Float[Array, "b h w"]:
    side = math.isqrt(heat.shape[1])
    if side * side != heat.shape[1] or not side:
        raise ValueError(
            f"grounding needs patches that form a square, and the vision encoder gives "
            f"{heat.shape[1]} tokens after the first"
        )
    return jnp.reshape(heat, (-1, side, side))


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
