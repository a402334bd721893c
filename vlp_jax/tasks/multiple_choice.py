"""Multiple choice (VCR): which answer is right, and which rationale explains an answer?"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Natural, Range
from vlp_jax.data.assemble import Feed
from vlp_jax.data.batch import Field
from vlp_jax.data.entry import take
from vlp_jax.data.input_rules import InputRules
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.metrics.vcr import vcr_accuracies
from vlp_jax.model import TextFields, Views
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step
from vlp_jax.tasks.classes import ClassEvaluation, ClassTask, Decided, Logits
from vlp_jax.tasks.decisions import CHOICE_HEADS, several_logits
from vlp_jax.tasks.texts import needed

CHOICES = TextFields("choice_ids", "choice_mask", "choice_segments")
_ANSWERS = 4  # choices of VCR
_DIMS = ("B", "K", "L")


@dataclass(frozen=True)
class ChoiceFields(Transform):
    """Makes a text of each choice: `[CLS] question [SEP] choice [SEP]`, with its segments.

    A choice of what explains an answer has that answer in between, as a part of its own.

    length: most tokens; the longest part is cut. count: choices of a record. types: segments of
    question and choice. given_types: of question, answer and choice. separator_follows: whether
    the [SEP] between two parts has the segment of the one behind it (UNITER).
    """

    texts: TextEncoder
    length: int
    count: int
    types: tuple[int, ...]
    given_types: tuple[int, ...]
    separator_follows: bool

    makes = {
        "choice_ids": Field(("int32",), _DIMS, "tokens of the question with each choice"),
        "choice_mask": Field(("bool",), _DIMS, "True = real token"),
        "choice_segments": Field(("int32",), _DIMS, "which part of the text a token is of"),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record = example.record
        choices, given = take(record, "choices"), record.get("given")
        if len(choices) != self.count:
            raise ValueError(f"the record has {len(choices)} choices, expected {self.count}")
        first = [take(record, "question"), *([] if given is None else [given])]
        rows = [self._encoded([*first, choice]) for choice in choices]
        return {name: np.stack(x) for name, x in zip(self.makes, zip(*rows))}

    def _encoded(self, parts: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tokenizer = self.texts.tokenizer
        pieces = [self.texts.pieces(self.texts.usable_caption([part])[0]) for part in parts]
        while sum(map(len, pieces)) > self.length - 1 - len(pieces):
            max(reversed(pieces), key=len).pop()
        types = self.types if len(pieces) == len(self.types) else self.given_types
        ids, segments = [tokenizer.cls_id], [types[0]]
        for i, (part, own) in enumerate(zip(pieces, types)):
            following = types[min(i + 1, len(pieces) - 1)] if self.separator_follows else own
            ids += [*part, tokenizer.sep_id]
            segments += [own] * len(part) + [following]
        used = len(ids)
        padded = lambda row, value: np.array(row + [value] * (self.length - used), np.int32)
        return padded(ids, tokenizer.pad_id), np.arange(self.length) < used, padded(segments, 0)


def choice_logits(views: Views, head: str) -> Float[Array, "b k c"]:
    """Returns what a head gives for each picture with each of its choices."""
    given = (views.batch[name] for name in (CHOICES.ids, CHOICES.mask, CHOICES.segments))
    return views.run(partial(several_logits, head=head), views.image(), *given, name="choices")


def choice_scores(views: Views, head: str) -> Float[Array, "b k"]:
    """Returns the score of each choice: the logit of the last class, which is "yes"."""
    return choice_logits(views, head)[..., -1]


@dataclass(frozen=True)
class ChoiceEvaluation(ClassEvaluation):
    """Accuracy; of VCR Q→A, QA→R and Q→AR as well, and the file that its server reads.

    These need the answers and the rationales of every answer of each question.
    """

    needs = ("choices",)
    more = ("q_to_a", "qa_to_r", "q_to_ar")

    def official(self, found: Decided, names: Sequence[str]) -> dict[str, float]:
        """The three figures of VCR, where all of its five choices were made."""
        asked = _by_question(found)
        if not asked or any(len(rows) != 1 + _ANSWERS for rows in asked.values()):
            return {}
        labels = [[found.labels[i] for i in rows.values()] for rows in asked.values()]
        answers = np.array([row[0] for row in labels])
        # What explains an answer is known of the right one alone.
        rationales = np.array([row[1 + row[0]] if row[0] >= 0 else -1 for row in labels])
        if (answers < 0).any() or (rationales < 0).any():
            return {}
        scores = np.array([[found.logits[i] for i in rows.values()] for rows in asked.values()])
        return dict(vcr_accuracies(scores, answers, rationales))

    def submission(self, found: Decided, names: Sequence[str]) -> tuple[str, str]:
        """A line a question: probabilities of the answers and of all rationales made."""
        asked, made = _by_question(found), io.StringIO()
        kinds = sorted({kind for rows in asked.values() for kind in rows})
        columns = [f"{_COLUMN.get(k, k)}_{i}" for k in kinds for i in range(found.logits.shape[1])]
        writer = csv.writer(made, lineterminator="\n")
        writer.writerow(["annot_id", *columns])
        chances = np.exp(found.logits - found.logits.max(1, keepdims=True))
        chances /= chances.sum(1, keepdims=True)
        for name, rows in asked.items():
            given = [chances[rows[k]] if k in rows else [""] * chances.shape[1] for k in kinds]
            writer.writerow([name, *(x for row in given for x in row)])
        return "csv", made.getvalue()


_COLUMN = {f"rationale {i}": f"rationale_conditioned_on_a{i}" for i in range(_ANSWERS)}


def _by_question(found: Decided) -> dict[Any, dict[str, int]]:
    """Returns question → what was asked of it → row, "answer" first."""
    asked: dict[Any, dict[str, int]] = {}
    for row, record in enumerate(found.records):
        asked.setdefault(record.get("name"), {})[record.get("about", "answer")] = row
    return {name: dict(sorted(rows.items())) for name, rows in asked.items()}


@TASKS.register("multiple_choice")
@dataclass(frozen=True)
class ChoiceTask(ClassTask):
    """Choose one of `choices` texts for a question about a picture.

    form: "ce" is cross-entropy over the choices (ViLBERT, VisualBERT), "binary" that of "no" and
    "yes" for each of them, averaged (UNITER). head: the one that scores a choice, its last class.
    length: tokens of the whole text. types, given_types, separator_follows: see `ChoiceFields`.
    """

    evaluate: dict[str, ChoiceEvaluation] = field(default_factory=dict)
    form: Literal["ce", "binary"] = "ce"
    head: str = CHOICE_HEADS[0]
    choices: Annotated[int, Range(2)] = _ANSWERS
    length: Annotated[int, Range(8)] = 80
    types: tuple[Natural, ...] = (0, 1)
    given_types: tuple[Natural, ...] = (0, 0, 1)
    separator_follows: bool = False

    title = "Multiple choice (VCR)"
    metrics = {"choice_accuracy": "Choice accuracy"}

    def __post_init__(self):
        for name, count in (("types", 2), ("given_types", 3)):
            if len(vars(self)[name]) != count:
                raise ValueError(f"{name} = {vars(self)[name]}, expected {count} numbers")

    def input_rules(self, rules: InputRules) -> InputRules:
        """A question with a choice is shown as in training."""
        segments = dict(choice_types=self.types, separator_follows=self.separator_follows)
        return replace(rules.with_length("choose", self.length), **segments)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The numbers of the choices."""
        return tuple(map(str, range(self.choices)))

    @property
    def logits(self) -> Logits:
        """The scores of the choices."""
        return partial(choice_scores, head=self.head)

    @property
    def reads(self) -> frozenset[str]:
        """The choices and which of them is right."""
        return needed(CHOICES) | {CHOICES.segments, "labels"}

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """The choices and the label."""
        if "choices" not in feed.provides:
            return ()
        options = tuple(self.types), tuple(self.given_types), self.separator_follows
        fields = ChoiceFields(feed.texts, self.length, self.choices, *options)
        return fields, *super().transforms(feed)

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """A classifier of one score, or of "no" and "yes"."""
        return {self.head: HeadNeed(self.kind, {"class": 2 if self.form == "binary" else 1})}

    def loss(self, step: Step) -> Result:
        """The mean over questions, or over all of their choices."""
        if self.form == "ce":
            return super().loss(step)
        labels, logits = step.views.batch["labels"], choice_logits(step.views, self.head)
        yes = jnp.arange(logits.shape[1]) == labels[:, None]
        right = (jnp.argmax(logits[..., -1], -1) == labels).astype(jnp.float32).mean()
        loss = cross_entropy(logits, yes.astype(jnp.int32)).mean()
        return Result(loss, dict.fromkeys(self.metrics, right))
