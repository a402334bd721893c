"""Detection: finds the objects of a picture, their classes and their boxes (Faster R-CNN)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config.ranges import Count, Share
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import Field
from vlp_jax.data.entry import take
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.detectors.boxes import encode
from vlp_jax.detectors.c4 import HEAD_WEIGHTS
from vlp_jax.detectors.proposals import Proposals
from vlp_jax.detectors.surviving_class import SurvivorRule
from vlp_jax.heads.detection import Looked, Objects, Proposed, side_of
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.box_matching import match, sample
from vlp_jax.losses.detection import (
    PROPOSAL_TURN,
    REGION_TURN,
    box_loss,
    class_loss,
    objectness_loss,
)
from vlp_jax.metrics.average_precision import Boxes, average_precision
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import Outcome, TableRow

HEAD = "detection"

# Overlaps from which on an anchor shows an object, and below which it does not; of proposals one
# number is both. Source: Ren et al. 2015, section 3.1.2, and Girshick 2015, section 2.3.
ANCHOR_FOUND, ANCHOR_EMPTY, REGION_FOUND = 0.7, 0.3, 0.5


@dataclass(frozen=True)
class ObjectLabels(Transform):
    """Makes `object_labels`: the class of each object whose box is in the batch."""

    makes = {"object_labels": Field(("int32",), ("B", "R"), "class of each object")}

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        given, kept = take(example.record, "region_labels"), example["regions"].kept
        labels = np.zeros(example["region_mask"].shape, np.int32)
        if len(given) > len(labels):
            raise ValueError(
                f"the picture has {len(given)} objects, and config.data.regions = {len(labels)} "
                "leaves some out: detection needs all"
            )
        labels[: len(kept)] = np.asarray(given)[kept]
        return {"object_labels": labels}


class Truth(NamedTuple):
    """The objects of pictures; boxes are in cells of the map."""

    boxes: Float[Array, "b m 4"]
    labels: Int[Array, "b m"]
    mask: Bool[Array, "b m"]


class Drawn(NamedTuple):
    """Regions that the second stage learns from; class 0 is the background."""

    boxes: Float[Array, "b k 4"]
    labels: Int[Array, "b k"]
    targets: Float[Array, "b k 4"]
    positive: Bool[Array, "b k"]
    mask: Bool[Array, "b k"]


def draw_regions(key: Array, proposals: Proposals, truth: Truth, count: int, share: float) -> Drawn:
    """Draws regions of one picture among its proposals and true boxes; arguments have no axis B."""
    boxes = jnp.concatenate([proposals.boxes, truth.boxes])
    real = jnp.concatenate([proposals.mask, truth.mask])
    matches = match(boxes, truth.boxes, truth.mask, REGION_FOUND, REGION_FOUND)
    matches = matches._replace(positive=matches.positive & real, negative=matches.negative & real)
    positive, negative = sample(key, matches, count, share)
    rows = jnp.argsort(~(positive | negative), stable=True)[:count]
    own = matches.truths[rows]
    targets = encode(boxes[rows], truth.boxes[own], HEAD_WEIGHTS)
    labels = jnp.where(positive[rows], 1 + truth.labels[own], 0)
    return Drawn(boxes[rows], labels, targets, positive[rows], (positive | negative)[rows])


def propose(model: VisionLanguageModel, image: Tokens, *, deterministic: bool) -> Proposed:
    """Returns what the head's first stage says of pictures."""
    return model.head(HEAD).propose(image)


def look(model: VisionLanguageModel, image: Tokens, boxes: Array, *, deterministic: bool) -> Looked:
    """Returns what the head's second stage says of boxes."""
    return model.head(HEAD).look(image, boxes)


def objects_in(views: Views, rule: SurvivorRule) -> Objects:
    """Returns the objects that are found in pictures."""
    find = lambda model, image, *, deterministic: model.head(HEAD)(image, rule)
    return views.run(find, views.image(), name="objects")


@dataclass(frozen=True)
class DetectionEvaluation(Evaluation):
    """COCO's average precision over classes: at overlaps from 0.5 to 0.95, at 0.5 and at 0.75.

    Objects count from a `score` on; `overlap` is the one above which the lower of two of a class
    goes.
    """

    limit: Count | None = None
    score: Share = 0.05
    overlap: Share = 0.5

    needs = ("image", "regions", "region_classes")

    def figures(self, name: str) -> frozenset[str]:
        return frozenset({f"{name}_ap", f"{name}_ap50", f"{name}_ap75"})

    def __call__(self, run: Run, name: str) -> Outcome:
        rule = SurvivorRule(least=0, score=self.score, overlap=self.overlap)
        _, boxes, labels, scores, mask, *true = run.collect(
            run.source(self), self.limit, partial(objects_in, rule=rule), _kept
        )
        found = [Boxes(b[m], n[m], s[m]) for b, n, s, m in zip(boxes, labels, scores, mask)]
        true = [Boxes(b[m], n[m]) for b, n, m in zip(*true)]
        each = average_precision(found, true)
        values = {"ap": float(each.mean()), "ap50": float(each[0]), "ap75": float(each[5])}
        titles = {"ap": "AP, overlap ½ to 0.95", "ap50": "AP, ½", "ap75": "AP, ¾"}
        rows = [
            TableRow(
                f"{titles[key]} ({self.split})",
                value,
                None,
                None,
                f"{len(true)} pictures",
                run.task.title,
                headline=key == "ap50",
            )
            for key, value in values.items()
        ]
        return Outcome({f"{name}_{key}": value for key, value in values.items()}, rows)


def _kept(objects: Objects, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Returns what is found and what is true in pictures."""
    found = objects.boxes, objects.labels, objects.scores, objects.mask
    return *found, *(batch[name] for name in ("region_boxes", "object_labels", "region_mask"))


@TASKS.register("detection")
@dataclass(frozen=True)
class DetectionTask(Task):
    """Learns where objects are and what they are, by both stages of Faster R-CNN at once.

    Of a picture's anchors `anchors` are drawn, at most half of them on objects; of its proposals
    and true boxes `regions`, at most `share` on objects. Source: Ren et al. 2015, section 3.1.3,
    and Girshick 2015, section 2.3.
    """

    evaluate: dict[str, DetectionEvaluation] = field(default_factory=dict)
    anchors: Count = 256
    regions: Count = 128
    share: Share = 0.25

    title = "Detection"
    metrics = {
        "objectness_loss": "Anchors: object or not",
        "proposal_box_loss": "Anchors: boxes",
        "class_loss": "Regions: classes",
        "region_box_loss": "Regions: boxes",
    }

    @property
    def reads(self) -> frozenset[str]:
        """The picture's true boxes and their classes."""
        return frozenset({"region_boxes", "region_mask", "object_labels"})

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The labels, where a source gives pictures with classes of true boxes."""
        given = {"image", "regions", "region_classes"} <= feed.provides
        return (ObjectLabels(),) if given else ()

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The one that finds, with a size for the classes."""
        return {HEAD: HeadNeed(HEAD, {"object": len(sizes.vocabulary.region_classes)})}

    def table_sizes(self, model: VisionLanguageModel) -> dict[str, int]:
        """The classes."""
        return {"object_labels": model.head(HEAD).size_of("object")}

    def loss(self, step: Step) -> Result:
        """The sum of the four losses."""
        views = step.views
        proposed = views.run(propose, views.image(), name="proposals")
        batch, side = views.batch, side_of(views.image())
        boxes = batch["region_boxes"][..., :4] * side
        truth = Truth(boxes, batch["object_labels"], batch["region_mask"])
        keys = jax.random.split(views.draw_key("detection"))
        losses = self._proposal_losses(keys[0], proposed, truth)
        losses |= self._region_losses(keys[1], views, proposed.proposals, truth)
        return Result(sum(losses.values()), losses)

    def _proposal_losses(self, key: Array, proposed: Proposed, truth: Truth) -> dict[str, Array]:
        def drawn(key: Array, anchors: Array, truth: Truth) -> tuple[Array, ...]:
            found = match(
                anchors, truth.boxes, truth.mask, ANCHOR_FOUND, ANCHOR_EMPTY, every_truth=True
            )
            return *sample(key, found, self.anchors, 0.5), encode(
                anchors, truth.boxes[found.truths]
            )

        anchors = proposed.anchors
        keys = jax.random.split(key, len(anchors))
        positive, negative, targets = jax.vmap(drawn)(keys, anchors, truth)
        boxes = proposed.deltas, targets, positive, positive | negative
        return {
            "objectness_loss": objectness_loss(proposed.logits, positive, negative),
            "proposal_box_loss": box_loss(*boxes, PROPOSAL_TURN),
        }

    def _region_losses(
        self, key: Array, views: Views, proposals: Proposals, truth: Truth
    ) -> dict[str, Array]:
        keys = jax.random.split(key, len(truth.boxes))
        draw = lambda *own: draw_regions(*own, self.regions, self.share)
        drawn = jax.vmap(draw)(keys, proposals, truth)
        looked = views.run(look, views.image(), drawn.boxes, name="regions")
        boxes = looked.deltas, drawn.targets, drawn.positive, drawn.mask
        return {
            "class_loss": class_loss(looked.logits, drawn.labels, drawn.mask),
            "region_box_loss": box_loss(*boxes, REGION_TURN),
        }
