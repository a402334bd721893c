"""Phrase grounding (Flickr30k Entities): which region does each phrase of a caption mean?"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import Field
from vlp_jax.data.boxes import box_iou
from vlp_jax.data.entry import take
from vlp_jax.data.foreign import shortened
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.heads.phrase_grounding import PhraseGroundingHead
from vlp_jax.losses.cross_entropy import masked_mean
from vlp_jax.losses.phrases import phrase_loss
from vlp_jax.metrics.figures import figure, figure_names
from vlp_jax.metrics.phrases import drawn_recall, first_right, recall_at
from vlp_jax.model import CAPTION, Views, VisionLanguageModel
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.decisions import REGION_HEADS
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import Outcome, TableRow
from vlp_jax.tasks.referring import FOUND, check_boxes_stay
from vlp_jax.tasks.texts import needed

POSITIONS = "phrase_positions"
_OVERLAPS = "phrase_overlaps"
_MOST = (1, 5, 10)  # regions of which one has to be right
_FILLING = -1  # position of a phrase that there is not
_CUT = 0  # of one that the text is too short for: [CLS] ends no phrase


def phrase_position(texts: TextEncoder, ids: np.ndarray, caption: str, end: int) -> int:
    """Returns where the last word piece of a caption's first `end` characters stands in its ids.

    Position 0 is [CLS]; it is given for what is cut off from the ids [L].
    """
    # All words, so that a phrase behind the last one that is read is not taken for that one.
    uncut = replace(texts, max_words=end + 1)
    pieces = texts.pieces(uncut.caption(caption[:end]))
    # As [CLS] stands before the pieces, their number is the place of the last one.
    return len(pieces) if ids[1 : 1 + len(pieces)].tolist() == pieces else _CUT


def phrase_end(caption: str, phrase: str) -> int:
    """Returns how many characters there are up to the end of a phrase where it first occurs.

    ValueError if it does not occur as whole words, in upper or lower case.
    """
    words = r"\s+".join(map(re.escape, phrase.split()))
    found = re.search(rf"(?<!\w){words}(?!\w)", caption, re.IGNORECASE) if words else None
    if found is None:
        raise ValueError(
            f'phrase "{shortened(phrase, 80)}": it is not in the text "{shortened(caption, 200)}"'
        )
    return found.end()


def last_word_end(caption: str) -> int:
    """Returns how many characters there are up to the end of a caption's last word."""
    return max((word.end() for word in re.finditer(r"\w", caption)), default=len(caption))


@dataclass(frozen=True)
class PhraseFields(Transform):
    """Makes `phrase_positions` and `phrase_overlaps` of a record's one caption and its "phrases".

    count: most phrases of a caption; one with more is a ValueError.
    """

    texts: TextEncoder
    count: int

    makes = {
        POSITIONS: Field(
            ("int32",), ("B", "N"), "last token of each phrase; 0 = cut off, -1 = no phrase"
        ),
        _OVERLAPS: Field(
            ("float32",), ("B", "N", "R"), "overlap with the nearest of the phrase's boxes"
        ),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        phrases, captions = take(example.record, "phrases"), take(example.record, "captions")
        if len(captions) != 1:
            raise ValueError(f"phrases are of one caption, and the record has {len(captions)}")
        if len(phrases) > self.count:
            raise ValueError(f"the record has {len(phrases)} phrases, expected up to {self.count}")
        positions = np.full(self.count, _FILLING, np.int32)
        overlaps = np.zeros((self.count, len(example["region_mask"])), np.float32)
        for i, phrase in enumerate(phrases):
            end = take(phrase, "end")
            positions[i] = phrase_position(self.texts, example["text_ids"], captions[0], end)
            overlaps[i] = phrase_overlaps(example, take(phrase, "boxes"))
        return {POSITIONS: positions, _OVERLAPS: overlaps}


def phrase_overlaps(example: Mapping[str, Any], boxes: Sequence[Sequence[float]]) -> np.ndarray:
    """Returns the largest overlap of each region with boxes [K, 4] in the unit square, [R].

    Intersection over union of continuous boxes, as VisualBERT computes it; 0 for filling.
    """
    regions = example["region_boxes"][..., :4]
    overlaps = box_iou(regions[:, None], np.reshape(boxes, (1, -1, 4)))
    return np.where(example["region_mask"], overlaps.max(1, initial=0), 0)


def positions_of(
    texts: TextEncoder, ids: np.ndarray, caption: str, phrases: Sequence[str] | None
) -> np.ndarray:
    """Returns where phrases of a caption are read in its ids [L], int32 [N]; all of it for None.

    ValueError for a phrase that is not in the caption, or is cut off from its ids.
    """
    named = [caption] if phrases is None else phrases
    ends = [last_word_end(caption)] if phrases is None else [phrase_end(caption, p) for p in named]
    positions = [phrase_position(texts, ids, caption, end) for end in ends]
    if _CUT in positions:
        cut = shortened(named[positions.index(_CUT)], 80)
        raise ValueError(f'"{cut}" does not end within the {len(ids)} tokens of a text')
    return np.array(positions, np.int32)


def grounds_phrases(model: VisionLanguageModel, head: str | None) -> bool:
    """Tells whether a head scores regions for each word of a text, not for all of it."""
    return head is not None and isinstance(model.head(head), PhraseGroundingHead)


def phrase_logits(views: Views, head: str) -> Float[Array, "b n r"]:
    """Returns the score of each region for each phrase, read at `phrase_positions`."""
    positions = jnp.maximum(views.batch[POSITIONS], 0)
    return jnp.take_along_axis(views.head(head, CAPTION), positions[..., None], axis=1)


@dataclass(frozen=True)
class PhraseEvaluation(Evaluation):
    """The share of phrases of which one of the best 1, 5 or 10 regions is right.

    A region is right that overlaps one of the phrase's boxes by a half; `_upper_bound` is the share
    of phrases that have such a region. A phrase that is cut off from the text is not found. They
    stand beside regions drawn at random, and the first ones of each picture.
    """

    limit: Count | None = None

    needs = ("caption", "phrases")

    def figures(self, name: str) -> frozenset[str]:
        recalls = (figure_names(f"{name}_r{k}") for k in _MOST)
        return frozenset({f"{name}_upper_bound"}).union(*recalls)

    def __call__(self, run: Run, name: str) -> Outcome:
        fields = (_OVERLAPS, "region_mask", POSITIONS)
        keep = lambda logits, batch: (logits, *map(batch.get, fields))
        score = partial(phrase_logits, head=run.task.head)
        _, logits, overlaps, real, positions = run.collect(
            run.source(self), self.limit, score, keep
        )
        which = positions != _FILLING
        if not which.any():
            return Outcome()
        real = np.repeat(real[:, None], which.shape[1], axis=1)[which]
        scores, right = np.where(real, logits[which], -np.inf), overlaps[which] >= FOUND
        read = positions[which] != _CUT
        places = first_right(scores, right & read[:, None])
        return self._outcome(run, name, places, right, real)

    def _outcome(
        self, run: Run, name: str, places: np.ndarray, right: np.ndarray, real: np.ndarray
    ) -> Outcome:
        """Returns figures and rows of phrases; right, real: which regions are so, [N, R]."""
        title = run.task.title
        in_order = np.where(real, -np.arange(real.shape[1], dtype=np.float64), -np.inf)
        # Where one stands for the whole picture, the next is a detector's first.
        in_order[:, 0] -= run.config.data.global_region * real.shape[1]
        blind, counts = first_right(in_order, right), (right.sum(1), real.sum(1))
        outcome = Outcome()
        for k in _MOST:
            found = recall_at(places, k), drawn_recall(*counts, k), recall_at(blind, k)
            note = f"blind: as many of the first regions; {len(places)} phrases"
            outcome.figures |= figure(f"{name}_r{k}", *found, "the first regions")
            outcome.rows.append(
                TableRow(f"R@{k} ({self.split})", *found, note, title, headline=k == 1)
            )
        bound = float(right.any(1).mean())
        outcome.figures[f"{name}_upper_bound"] = bound
        outcome.rows.append(TableRow(f"Upper bound ({self.split})", bound, group=title))
        return outcome


@TASKS.register("entities")
@dataclass(frozen=True)
class PhraseTask(Task):
    """Give each phrase of a caption the regions that overlap one of its boxes by a half.

    The loss is that of `vlp_jax.losses.phrases.phrase_loss`; a phrase is read at its last word
    piece. phrases: most of them in a caption. head: the one that scores.
    """

    evaluate: dict[str, PhraseEvaluation] = field(default_factory=dict)
    phrases: Count = 24
    head: str = REGION_HEADS[1]

    title = "Phrases (Flickr30k Entities)"
    metrics = {"phrase_accuracy": "Phrases whose region is found"}

    @property
    def reads(self) -> frozenset[str]:
        """The caption, the regions, the phrases and their overlaps."""
        return needed(CAPTION) | {"region_mask", POSITIONS, _OVERLAPS}

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """A picture whose regions move would lose the right boxes."""
        check_boxes_stay(path, config)

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """Positions and overlaps."""
        given = {"caption", "phrases"} <= feed.provides and feed.has_regions
        return (PhraseFields(feed.texts, self.phrases),) if given else ()

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The one that scores regions for words."""
        return {self.head: HeadNeed("phrase_grounding")}

    def loss(self, step: Step) -> Result:
        """The sum over phrases, the mean over captions."""
        batch, logits = step.views.batch, phrase_logits(step.views, self.head)
        right = (batch[_OVERLAPS] >= FOUND) & (batch[POSITIONS] > _CUT)[..., None]
        best = jnp.argmax(logits, -1)[..., None]
        found = jnp.take_along_axis(right, best, axis=-1)[..., 0].astype(jnp.float32)
        accuracy = masked_mean(found, batch[POSITIONS] != _FILLING)
        return Result(phrase_loss(logits, right), {"phrase_accuracy": accuracy})
