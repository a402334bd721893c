"""Masked language modelling given the image, with momentum distillation (ALBEF section 3.3)."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count, Fraction, Share
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import IGNORE
from vlp_jax.data.masking import Masking, MaskWords
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.transforms import Transform
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.cross_entropy import cross_entropy, distilled_cross_entropy
from vlp_jax.losses.marked_rows import sum_over_marked
from vlp_jax.metrics.blind_texts import ContextMLM
from vlp_jax.metrics.bootstrap import bootstrap_interval
from vlp_jax.metrics.figures import figure, figure_names
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import Outcome, TableRow
from vlp_jax.tasks.texts import MASKED, needed

HEAD = "mlm"


def word_logits(
    model: VisionLanguageModel, fused: Fused, *, deterministic: bool
) -> Float[Array, "b l v"]:
    """Returns what the masked words could be, at every position."""
    return model.read(HEAD, Reading((), (), (fused,)), deterministic=deterministic)


def guessed_words(views: Views) -> Int[Array, "b l"]:
    """Returns the likeliest word at every position of the masked caption."""
    return jnp.argmax(views.head(HEAD, MASKED), -1)


@dataclass(frozen=True)
class MaskedTextEvaluation(Evaluation):
    """Accuracy on masked words given the image, beside a guess from the neighbouring words.

    The guess is fitted on the captions of `baseline_records` training records.
    """

    baseline_records: Count = 4000

    needs = ("image|region_features", "caption")
    heads = (HEAD,)

    def figures(self, name: str) -> frozenset[str]:
        return figure_names(f"{name}_accuracy")

    def __call__(self, run: Run, name: str) -> Outcome:
        right, seen = [], []
        for batch in run.batches(run.source(self), self.limit):
            words = np.asarray(run.forward(guessed_words, batch))
            masked = (batch["mlm_labels"] != IGNORE) & batch["example_mask"][:, None]
            right.append(np.where(masked, words == batch["mlm_labels"], np.nan))
            labels = np.where(masked, batch["mlm_labels"], IGNORE)
            seen.append((batch["mlm_ids"], labels, batch["text_mask"]))
        right = np.concatenate(right)
        caption, place = np.nonzero(np.isfinite(right))
        right = right[caption, place]
        accuracy = float(right.mean()) if right.size else float("nan")
        blind = self._blind(run, *(np.concatenate(x) for x in zip(*seen)))
        chance = 1.0 / run.vocabulary.tokenizer.size
        note = "blind: neighbouring words (n-gram)"
        figures = figure(f"{name}_accuracy", accuracy, chance, blind, "n-gram context")
        row = TableRow(
            "Masked words",
            accuracy,
            chance,
            blind,
            note,
            "Language",
            headline=True,
            interval=bootstrap_interval(right, caption),
        )
        return Outcome(figures, [row])

    def _blind(self, run: Run, ids: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> float:
        train, texts, tokenizer = run.training_source(self), run.texts, run.vocabulary.tokenizer
        records = run.records(train, range(min(self.baseline_records, len(train))))
        captions = (texts.caption(c) for record in records.values() for c in record["captions"])
        cut = run.config.data.text_length - 1
        model = ContextMLM.fit([tokenizer.cls_id, *tokenizer.piece_ids(c)[:cut]] for c in captions)
        return model.accuracy(ids, labels, mask)


@TASKS.register("mlm")
@dataclass(frozen=True)
class MaskedTextTask(Task):
    """Cross-entropy of the masked words, averaged over all masked words of the (global) batch.

    `probability` is the chance of a word to be masked; `at_least_one` masks the first word where
    the draw chose none (UNITER). With a teacher and `alpha` > 0: (1-α)·CE(labels) + α·CE(teacher),
    the teacher reading the same masked text. A batch without a masked word gives zero.
    """

    evaluate: dict[str, MaskedTextEvaluation] = field(default_factory=dict)
    probability: Fraction = 0.15
    at_least_one: bool = False
    alpha: Share = 0.4

    title = "Masked words (MLM)"
    metrics = {"mlm_accuracy": "Masked words accuracy"}

    def chances(self, config: ExperimentConfig) -> dict[str, float]:
        """One of all words."""
        words = config.model.text_args.get("vocab_size")
        return {"mlm_accuracy": 1 / words} if words else {}

    @property
    def reads(self) -> frozenset[str]:
        """The masked caption and its labels."""
        return needed(MASKED) | {"mlm_labels"}

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """Masks the caption."""
        if "caption" not in feed.provides:
            return ()
        masking = Masking(self.probability, at_least_one=self.at_least_one)
        return (MaskWords(feed.vocabulary.tokenizer, masking),)

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The word head."""
        return {HEAD: HeadNeed(HEAD)}

    def loss(self, step: Step) -> Result:
        """The mean over masked words."""
        views, teacher, labels = step.views, step.teacher, step.views.batch["mlm_labels"]
        distils = teacher is not None and self.alpha > 0
        taught = teacher.fused(MASKED).text.states if distils else None
        alpha = step.ramp * self.alpha

        def sums(states: Array, given: tuple, counted: Array) -> tuple[Array, Array]:
            labels, taught = given
            logits = views.at_once(word_logits, _words(states, counted), name=HEAD)
            if distils:
                soft = teacher.at_once(word_logits, _words(taught, counted), name=HEAD)
                losses = distilled_cross_entropy(logits, jnp.maximum(labels, 0), soft, alpha)
            else:
                losses = cross_entropy(logits, jnp.maximum(labels, 0))
            right = counted & (jnp.argmax(logits, -1) == labels)
            return jnp.where(counted, losses, 0.0).sum(), right.sum()

        masked, states = labels >= 0, views.fused(MASKED).text.states
        given, parts = (labels, jax.lax.stop_gradient(taught)), views.batch_parts
        loss, right = sum_over_marked(sums, states, given, masked, self.probability, parts)
        words = jnp.maximum(masked.sum(), 1)
        return Result(loss / words, {"mlm_accuracy": right / words})


def _words(states: Float[Array, "p s d"], mask: Bool[Array, "p s"]) -> Fused:
    """Returns text states as a pass, of which the word head reads nothing else."""
    return Fused(image=None, text=Tokens(states, mask))
