"""Visual question answering as classification over a closed list of answers."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count, Natural, Range
from vlp_jax.data.assemble import Feed
from vlp_jax.data.images import decode
from vlp_jax.data.input_rules import InputRules
from vlp_jax.data.records import spread_rows
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.transforms import Transform
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.data.vqa_targets import given_answers
from vlp_jax.losses.answers import answer_loss
from vlp_jax.metrics.blind_answers import best_blind_vqa
from vlp_jax.metrics.bootstrap import bootstrap_interval
from vlp_jax.metrics.figures import figure, figure_names
from vlp_jax.metrics.vqa import accuracy_by_type, soft_scores, vqa_accuracies
from vlp_jax.model import Views
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.decisions import several_logits
from vlp_jax.tasks.evaluation import Evaluation, Run
from vlp_jax.tasks.outcome import AnswerExample, Failure, Outcome, TableRow
from vlp_jax.tasks.questions import QUESTION, QuestionFields
from vlp_jax.tasks.texts import needed

HEAD = "vqa"
_CONFUSIONS = 8  # that are shown
Length = Annotated[int, Range(2)]


def answer_logits(views: Views, head: str = HEAD) -> Float[Array, "b a"]:
    """Returns a score for every known answer to the question of each image."""
    return views.head(head, QUESTION)


@dataclass(frozen=True)
class AnswerEvaluation(Evaluation):
    """Accuracy of answers, by question type, beside the best guess from the question alone.

    Guesses are fitted on `baseline_records` training records; `examples` go into the report.
    """

    limit: Count | None = 1024
    baseline_records: Count = 8000
    examples: Natural = 6

    needs = ("image|region_features", "question")

    def figures(self, name: str) -> frozenset[str]:
        return figure_names(f"{name.removesuffix('_accuracy')}_accuracy")

    def official(
        self, records: Sequence[Mapping], predicted: Sequence[str]
    ) -> tuple[dict[str, float], list[TableRow]]:
        """Returns further figures, by what follows the evaluation's name, and their rows."""
        return {}, []

    def submission(self, names: Sequence[Any], predicted: Sequence[str]) -> list[dict[str, Any]]:
        """Returns the entries of the server's file: of visualqa.org."""
        return [{"question_id": n, "answer": answer} for n, answer in zip(names, predicted)]

    def __call__(self, run: Run, name: str) -> Outcome:
        source = run.source(self)
        keep = lambda logits, batch: (
            logits.argmax(-1),
            soft_scores(logits, batch["answer_scores"]),
        )
        score = run.task.scores_of(run.vocabulary)
        rows, best, soft = run.collect(source, self.limit, score, keep)
        records = list(run.annotations(source, rows).values())
        predicted = [run.vocabulary.answers[i] for i in best]
        names = [record.get("name") for record in records]
        given = [] if None in names else self.submission(names, predicted)
        written = {f"{name}_predictions.json": json.dumps(given)} if given else {}
        if any(record.get("answers") is None for record in records):
            return Outcome(submissions=written)
        more, further = self.official(records, predicted)
        right = _scores(records, predicted, soft)
        blind, which = self._blind(run, records)
        types = [record.get("question_type", "question") for record in records]
        accuracy, chance = float(right.mean()), 1.0 / len(run.vocabulary.answers)
        images = [record.get("image_id", -1 - i) for i, record in enumerate(records)]
        what, guessed = type(source).__name__, float(blind.mean())
        return Outcome(
            figure(f"{name.removesuffix('_accuracy')}_accuracy", accuracy, chance, guessed, which)
            | {f"{name}_{key}": value for key, value in more.items()},
            rows=[
                TableRow(
                    f"Answers: {what}",
                    accuracy,
                    chance,
                    guessed,
                    note=f"blind: {which}; {len(records)} questions",
                    group="Question answering",
                    headline=True,
                    interval=bootstrap_interval(right, images),
                ),
                *further,
            ],
            submissions=written,
            answers=self._examples(run, rows, predicted, right),
            failures=[
                Failure(
                    f"Questions about {what}",
                    f"Accuracy by type of question, beside a blind guess: {which}.",
                    accuracy_by_type(right, types),
                    accuracy_by_type(blind, types),
                    confusions=_confusions(records, predicted, right),
                )
            ],
            attribution=[source.attribution] if source.attribution else [],
        )

    def _blind(self, run: Run, records: Sequence[Mapping]) -> tuple[np.ndarray, str]:
        train = run.training_source(self)
        # Spread over the split, because a source may keep questions of one image together.
        taken = run.annotations(train, spread_rows(len(train), self.baseline_records)).values()
        split = lambda rs: ([r["question"] for r in rs], [r["answers"] for r in rs])
        return best_blind_vqa(*split(taken), *split(records))

    def _examples(
        self, run: Run, rows: np.ndarray, predicted: Sequence[str], right: np.ndarray
    ) -> list[AnswerExample]:
        order = np.argsort(right, kind="stable")
        half = self.examples // 2
        chosen = [*order[:half], *order[-half:]] if len(order) > half else order
        shown = run.records(run.source(self), rows[chosen])
        return [
            AnswerExample(
                decode(record["image"]),
                record["question"],
                _truth(record),
                predicted[i],
                float(right[i]),
            )
            for i, record in zip(chosen, shown.values())
            if "image" in record
        ]


def _truth(record: Mapping) -> str:
    return max(record["answers"], key=record["answers"].get)


def _confusions(
    records: Sequence[Mapping], predicted: Sequence[str], right: np.ndarray
) -> list[tuple[str, str, int]]:
    """Returns what was answered most often instead of what is right, with how often."""
    wrong = np.nonzero(right < 0.5)[0]
    counts = Counter((_truth(records[i]), predicted[i]) for i in wrong)
    return [(*pair, count) for pair, count in counts.most_common(_CONFUSIONS)]


def _scores(records: Sequence[Mapping], predicted: Sequence[str], soft: np.ndarray) -> np.ndarray:
    """Returns the score of each prediction: the official VQA accuracy where annotators answered."""
    if any(record.get("annotators", 0) < 4 for record in records):
        return soft
    given = [given_answers(record["answers"], record["annotators"]) for record in records]
    return vqa_accuracies(predicted, given)


@dataclass(frozen=True)
class QuestionTask(Task):
    """What tasks on questions have in common: `question_length` tokens of a question.

    Subclasses have a `head`, the one that answers.
    """

    evaluate: dict[str, AnswerEvaluation] = field(default_factory=dict)
    question_length: Length = 25

    def input_rules(self, rules: InputRules) -> InputRules:
        """Questions have a length of their own; of several heads each may have another."""
        rules = rules.with_length("answer", self.question_length)
        return rules.with_length(self.head, self.question_length) if self.sources else rules

    @property
    def verbs(self) -> tuple[str, ...]:
        """The head that answers."""
        return (self.head,)

    def scores_of(self, vocabulary: Vocabulary) -> Callable[[Views], Float[Array, "b a"]]:
        """Returns what gives a score for every known answer to each question.

        The highest is the answer, and the softmax their probability.
        """
        raise NotImplementedError


@TASKS.register("vqa")
@dataclass(frozen=True)
class AnswerTask(QuestionTask):
    """Answer the question of each image, or several; `form` is the loss, see `answer_loss`.

    `targets` says what annotators' answers are worth: min(1, 0.3·n) for n of ten, the rule of
    UNITER, ViLBERT, LXMERT, VisualBERT and OSCAR, or their share.
    In training `questions` = k answers k of an image's questions in one pass of the vision encoder,
    where a source has several. `head` is the one that answers.
    """

    form: Literal["bce", "ce", "kl", "kl_unnormalised"] = "bce"
    targets: Literal["capped", "share"] = "capped"
    questions: Count = 1
    head: str = HEAD

    title = "Answers (VQA)"
    metrics = {"vqa_accuracy": "Answer accuracy"}

    @property
    def reads(self) -> frozenset[str]:
        """The question and its answers' scores."""
        return needed(QUESTION) | {"answer_scores"}

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """Questions, several in training."""
        if "question" not in feed.provides:
            return ()
        if self.questions > 1 and feed.train and "more_questions" not in feed.provides:
            raise ValueError(
                f"questions = {self.questions} of the task that answers questions, but the source "
                "gives one question an image: set questions = 1"
            )
        count = self.questions if feed.train else 1
        answers = feed.vocabulary.answers
        length, targets = self.question_length, self.targets
        options = dict(tags=feed.config.tags, train=feed.train)
        return (QuestionFields(feed.texts, length, answers, targets, count, **options),)

    def chances(self, config: ExperimentConfig) -> dict[str, float]:
        """One of the answers that the head knows."""
        classes = config.model.heads.get(self.head, {}).get("classes")
        return {"vqa_accuracy": 1 / classes} if classes else {}

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """A classifier over the known answers."""
        return {self.head: HeadNeed("vqa", {"class": len(sizes.vocabulary.answers)})}

    def scores_of(self, vocabulary: Vocabulary) -> Callable[[Views], Float[Array, "b a"]]:
        """The logits."""
        return partial(answer_logits, head=self.head)

    def loss(self, step: Step) -> Result:
        """The mean over all questions."""
        views, scores = step.views, step.views.batch["answer_scores"]
        if scores.ndim == 3:
            names = (QUESTION.ids, QUESTION.mask, QUESTION.segments)
            asked = (views.batch.get(name) for name in names)
            several = partial(several_logits, head=self.head)
            logits = views.run(several, views.image(), *asked, name="answers")
            logits, scores = (x.reshape(-1, x.shape[-1]) for x in (logits, scores))
        else:
            logits = answer_logits(views, self.head)
        chosen = jnp.take_along_axis(scores, jnp.argmax(logits, -1)[:, None], axis=-1)
        accuracy = dict.fromkeys(self.metrics, chosen.mean())
        return Result(answer_loss(logits, scores, self.form), accuracy)
