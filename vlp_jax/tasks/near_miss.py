"""Near-misses: does the true caption score above a false one made of the same words?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import jax
import numpy as np

from vlp_jax.config.ranges import Natural
from vlp_jax.data.images import decode
from vlp_jax.data.sources.base import Source
from vlp_jax.layers.tokens import Tokens
from vlp_jax.metrics.blind_texts import best_blind_near_miss
from vlp_jax.metrics.bootstrap import bootstrap_interval
from vlp_jax.metrics.classification import pairwise_accuracy
from vlp_jax.metrics.figures import figure, figure_names
from vlp_jax.metrics.vqa import accuracy_by_type
from vlp_jax.model import CAPTION, Views
from vlp_jax.tasks.base import TASKS, Task
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.matching import HEAD, match_log_odds
from vlp_jax.tasks.outcome import Failure, Outcome, PairExample, TableRow

# Training texts on which blind guesses are fitted.
_BASELINE_TEXTS = 20_000


@dataclass(frozen=True)
class Pairs:
    """Captions and their foils: pair i is foil i of the record `owners[i]`, and its caption.

    `rows` are the places of the records in their source.
    """

    records: Sequence[Mapping]
    rows: np.ndarray
    truths: list[str]
    foils: list[str]
    owners: np.ndarray


@dataclass(frozen=True)
class NearMissEvaluation(Evaluation):
    """How often the true caption scores above a false one; `examples` failures are shown."""

    examples: Natural = 3

    needs = ("image", "caption")
    heads = (HEAD,)

    def figures(self, name: str) -> frozenset[str]:
        return figure_names(f"{name}_accuracy")

    def __call__(self, run: Run, name: str) -> Outcome:
        source = run.source(self)
        images, usable = self._images(run, source)
        pairs = self._pairs(run, source, usable)
        if not pairs.foils:
            return Outcome()
        true = match_texts(run, images, pairs.truths, pairs.rows)[pairs.owners]
        false = match_texts(run, images, pairs.foils, pairs.rows[pairs.owners])
        accuracy = pairwise_accuracy(true, false)
        train = islice(run.training_source(self).texts(), _BASELINE_TEXTS)
        truths = [pairs.truths[i] for i in pairs.owners]
        blind, which = best_blind_near_miss(list(train), truths, pairs.foils)
        row = TableRow(
            "Near-misses: true caption above false one",
            accuracy,
            0.5,
            blind,
            note=f"blind: {which}; {len(pairs.foils)} pairs",
            group="Composition",
            headline=True,
            interval=bootstrap_interval(true > false, pairs.owners),
        )
        figures = figure(f"{name}_accuracy", accuracy, 0.5, blind, which)
        return Outcome(figures, [row], failures=[self._failure(pairs, true, false)])

    def _pairs(self, run: Run, source: Source, rows: np.ndarray) -> Pairs:
        found = run.records(source, rows)
        kept = {row: record for row, record in found.items() if record.get("near_misses")}
        records = list(kept.values())
        truths = [run.texts.usable_caption(record["captions"])[0] for record in records]
        cleaned = ((i, map(run.texts.caption, r["near_misses"])) for i, r in enumerate(records))
        foils = [(i, f) for i, own in cleaned for f in own if run.texts.tokenizer.has_words(f)]
        owners = np.array([i for i, _ in foils], int)
        texts = [foil for _, foil in foils]
        return Pairs(records, np.array(list(kept), int), truths, texts, owners)

    def _images(self, run: Run, source: Source) -> tuple[Tokens, np.ndarray]:
        """Returns the encoded images of all rows, and which rows are usable records."""
        parts, usable = [], []
        for batch in run.batches(source, self.limit):
            parts.append(jax.tree.map(np.asarray, run.forward(Views.image, batch)))
            usable.append(batch["example_mask"])
        images = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        return images, np.nonzero(np.concatenate(usable))[0]

    def _failure(self, pairs: Pairs, true: np.ndarray, false: np.ndarray) -> Failure:
        wrong = np.nonzero(true <= false)[0][: self.examples]
        examples = [
            PairExample(
                decode(pairs.records[pairs.owners[i]]["image"]),
                pairs.truths[pairs.owners[i]],
                pairs.foils[i],
                float(true[i]),
                float(false[i]),
            )
            for i in wrong
        ]
        kinds = [_objects(pairs.records[i]) for i in pairs.owners]
        by_count = accuracy_by_type((true > false).astype(float), kinds)
        return Failure(
            "Near-misses",
            "The model preferred a caption whose order or relation is wrong.",
            by_count,
            {kind: 0.5 for kind in by_count},
            examples,
        )


@TASKS.register("near_miss")
@dataclass(frozen=True)
class NearMissTask(Task):
    """Tells a caption from one of the same words in another order; it trains nothing.

    What it scores by is learned by matching ("itm").
    """

    evaluate: dict[str, NearMissEvaluation] = field(default_factory=dict)

    title = "Near-misses"
    trains = False


def match_texts(run: Run, images: Tokens, texts: Sequence[str], owners: np.ndarray) -> np.ndarray:
    """Returns the match log odds of each cleaned text with the image of row `owners[i]`."""
    ids, mask = run.texts.encode_all(texts, run.config.data.text_length)
    size = 4 * run.config.evaluation.batch_size
    scores = []
    for start in range(0, len(texts), size):
        rows = np.minimum(np.arange(start, start + size), len(texts) - 1)
        shown = {"image": jax.tree.map(lambda x: x[owners[rows]], images)}
        batch = {CAPTION.ids: ids[rows], CAPTION.mask: mask[rows]}
        scores.append(np.asarray(run.forward(match_log_odds, batch, shown)))
    return np.concatenate(scores)[: len(texts)]


def _objects(record: Mapping) -> str:
    count = len(record.get("labels", ()))
    return "1 object" if count == 1 else f"{count} objects"
