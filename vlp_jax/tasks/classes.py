"""What tasks that choose one of a few named classes share: fields, loss and evaluation."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vlp_jax.config import nearest
from vlp_jax.config.ranges import Count, Share
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import IGNORE, Field
from vlp_jax.data.records import spread_rows
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import distilled_cross_entropy, labelled_mean, masked_mean
from vlp_jax.metrics.figures import figure, figure_names
from vlp_jax.model import CAPTION, Views
from vlp_jax.tasks.base import HeadNeed, Result, Step, Task
from vlp_jax.tasks.decisions import head_logits
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import Outcome, TableRow
from vlp_jax.tasks.texts import needed

_WORDS = {
    "consistency": "Consistency",
    "q_to_a": "Q → A",
    "qa_to_r": "QA → R",
    "q_to_ar": "Q → AR",
}  # figures as they are printed

Form = Literal["ce", "bce", "bce_mean"]
Logits = Callable[[Views], Float[Array, "b c"]]


@dataclass(frozen=True)
class LabelFields(Transform):
    """Makes `labels`: the class of a record's "label", its name or number; -100 if not known.

    train: whether a record without one is an error.
    """

    classes: tuple[str, ...]
    train: bool

    makes = {"labels": Field(("int32",), ("B",), "class of the example; -100 = not known")}

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        label = example.record.get("label")
        if label is None and not self.train:
            return {"labels": np.int32(IGNORE)}
        names = dict(zip(self.classes, range(len(self.classes))))
        number = label if type(label) is int else names.get(label, -1)
        if not 0 <= number < len(self.classes):
            raise ValueError(
                f'the label is "{label}"; expected one of {", ".join(self.classes)}.'
                f"{nearest(str(label), self.classes)}"
            )
        return {"labels": np.int32(number)}


def class_loss(
    logits: Float[Array, "b c"], labels: Int[Array, "b"], form: Form
) -> Float[Array, ""]:
    """Returns the mean loss of a batch; see `ClassTask` for the forms.

    Rows without a label (negative) don't count for "ce"; for the others all classes are wrong
    there, as in ViLBERT 12-in-1.
    """
    if form == "ce":
        return labelled_mean(logits, labels)
    classes = logits.shape[-1]
    loss = answer_loss(logits, jax.nn.one_hot(labels, classes), "bce")
    return loss / classes if form == "bce_mean" else loss


@dataclass(frozen=True)
class Decided:
    """What a model says of the examples of a split: records, logits [N, C] and labels [N]."""

    records: Sequence[Mapping[str, Any]]
    logits: np.ndarray
    labels: np.ndarray

    @property
    def chosen(self) -> np.ndarray:
        """The likeliest class of each example, int [N]."""
        return self.logits.argmax(-1)

    @property
    def known(self) -> np.ndarray:
        """Which examples have a label, bool [N]."""
        return self.labels >= 0

    @property
    def right(self) -> np.ndarray:
        """Which of those are decided right, bool [M]."""
        return (self.chosen == self.labels)[self.known]


def decided(run: Run, evaluation: Evaluation, logits: Logits) -> Decided:
    """Returns what a model says of the first examples of a split."""
    source = run.source(evaluation)
    keep = lambda made, batch: (made, batch["labels"])
    rows, made, labels = run.collect(source, evaluation.limit, logits, keep)
    return Decided(list(run.annotations(source, rows).values()), made, labels)


@dataclass(frozen=True)
class ClassEvaluation(Evaluation):
    """Accuracy, beside chance and the label that is commonest in training.

    That is looked for in `baseline_records` of its records. Decisions are written beside the
    report, also of a split whose labels are not public, of which there is no figure.
    """

    limit: Count | None = None
    baseline_records: Count = 2000

    needs = ("label",)
    more: ClassVar[tuple[str, ...]] = ()
    """Further figures of `official`."""

    def official(self, found: Decided, names: Sequence[str]) -> dict[str, float]:
        """Returns further figures of the examples that have a label."""
        return {}

    def submission(self, found: Decided, names: Sequence[str]) -> tuple[str, str]:
        """Returns the ending and the text of the file of all decisions."""
        rows = [{"id": r.get("name"), "label": n} for r, n in zip(found.records, names)]
        return "json", json.dumps(rows)

    def figures(self, name: str) -> frozenset[str]:
        return figure_names(f"{name}_accuracy") | {f"{name}_{more}" for more in self.more}

    def __call__(self, run: Run, name: str) -> Outcome:
        found = decided(run, self, run.task.logits)
        classes = run.task.class_names
        names = [classes[i] for i in found.chosen]
        ending, text = self.submission(found, names)
        outcome = Outcome(submissions={f"{name}_predictions.{ending}": text})
        if not found.known.any():
            return outcome
        accuracy, chance = float(found.right.mean()), 1 / len(classes)
        blind, more = self._commonest(run, found), self.official(found, names)
        outcome.figures = figure(f"{name}_accuracy", accuracy, chance, blind, "commonest label")
        outcome.figures |= {f"{name}_{key}": value for key, value in more.items()}
        note, group = f"blind: the commonest label; {found.right.size} examples", run.task.title
        outcome.rows = [
            TableRow(
                f"Accuracy ({self.split})", accuracy, chance, blind, note, group, headline=True
            ),
            *(
                TableRow(f"{_WORDS.get(key, key)} ({self.split})", value, group=group)
                for key, value in more.items()
            ),
        ]
        return outcome

    def _commonest(self, run: Run, found: Decided) -> float:
        train = run.training_source(self)
        labels = LabelFields(run.task.class_names, train=False)
        given = run.annotations(train, spread_rows(len(train), self.baseline_records)).values()
        counts = Counter(int(labels(Example(record, None), None)["labels"]) for record in given)
        counts.pop(IGNORE, None)
        commonest = max(counts, key=counts.get, default=0)
        return float((found.labels[found.known] == commonest).mean())


@dataclass(frozen=True)
class ClassTask(Task):
    """Choose one of a few classes; `form` is the loss, `alpha` the teacher's part in it.

    "ce" is cross-entropy; with a teacher (1-α)·CE + α·CE(teacher), α following the ramp (ALBEF).
    "bce" is binary cross-entropy of all classes, summed over them (UNITER), "bce_mean" its mean
    over them (ViLBERT 12-in-1).
    """

    evaluate: dict[str, ClassEvaluation] = field(default_factory=dict)
    form: Form = "ce"
    alpha: Share = 0.0

    head: ClassVar[str] = ""
    kind: ClassVar[str] = "classifier"

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, in the order of the head."""
        raise NotImplementedError

    @property
    def logits(self) -> Logits:
        """What gives logits of the classes."""
        return partial(head_logits, head=self.head)

    @property
    def reads(self) -> frozenset[str]:
        """The text and the label."""
        return needed(CAPTION) | {"labels"}

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The label."""
        return (LabelFields(self.class_names, feed.train),) if "label" in feed.provides else ()

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The classifier."""
        return {self.head: HeadNeed(self.kind, {"class": len(self.class_names)})}

    def loss(self, step: Step) -> Result:
        """The mean over examples that have a label."""
        views, labels = step.views, step.views.batch["labels"]
        logits = self.logits(views)
        if step.teacher is not None and self.alpha > 0:
            taught, alpha = self.logits(step.teacher), step.ramp * self.alpha
            losses = distilled_cross_entropy(logits, jnp.maximum(labels, 0), taught, alpha)
            loss = masked_mean(losses, labels >= 0)
        else:
            loss = class_loss(logits, labels, self.form)
        right = masked_mean((jnp.argmax(logits, -1) == labels).astype(jnp.float32), labels >= 0)
        return Result(loss, dict.fromkeys(self.metrics, right))
