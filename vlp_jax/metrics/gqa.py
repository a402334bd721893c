"""GQA: accuracy, and how valid, plausible, consistent and rightly distributed the answers are.

Definitions: Hudson & Manning 2019, section 4.4, as the evaluation script of the data set computes
them. Answers are compared as they stand, without normalisation. Grounding is left out: it needs the
scene graphs and a model's attention over them.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

Question = Mapping[str, Any]
# Steps of a question's program that are no reasoning of their own.
_UNCOUNTED_STEPS = ("exist", "query: name", "choose name")
# The answers to "what do they have in common?", whose published choices are wrong.
_COMMON_ANSWERS = frozenset(("color", "material", "shape"))


class Share(NamedTuple):
    """A figure in percent and the number of questions behind it."""

    percent: float
    count: int


class GQAScores(NamedTuple):
    """Figures of the balanced questions: percentages, except for `distribution`.

    Attributes:
        accuracy: of all; `binary` and `open` split it by structural type ("query" is open).
        validity, plausibility: answers within the published choices.
        consistency: for right answers, how many of the entailed questions are right too.
        distribution: χ² distance of the answers given from the gold ones, weighted over groups of
            questions and divided by 100; lower is better, NaN without a group.
        by_structural_type, by_semantic_type, by_steps, by_length: accuracy and count by name of the
            type, by number of reasoning steps, and by number of words.
    """

    accuracy: float
    binary: float
    open: float
    validity: float
    plausibility: float
    consistency: float
    distribution: float
    by_structural_type: Mapping[str, Share]
    by_semantic_type: Mapping[str, Share]
    by_steps: Mapping[int, Share]
    by_length: Mapping[int, Share]


def gqa_scores(
    questions: Mapping[str, Question],
    choices: Mapping[str, Mapping[str, Iterable[str]]],
    predictions: Mapping[str, str],
) -> GQAScores:
    """Returns the official figures.

    Args:
        questions: id → entry of the questions file; only those with `isBalanced` are scored, the
            others serve consistency.
        choices: id → {"valid": […], "plausible": […]} for the balanced questions.
        predictions: id → answer.

    Raises ValueError if a question lacks its prediction or a balanced one its choices.
    """
    _require("prediction", questions, predictions)
    balanced = {name: q for name, q in questions.items() if q["isBalanced"]}
    _require("choices", balanced, choices)
    right = {name: predictions[name] == q["answer"] for name, q in questions.items()}

    def by(kind: Callable[[Question], Any]) -> dict[Any, Share]:
        groups = defaultdict(list)
        for name, question in balanced.items():
            groups[kind(question)].append(right[name])
        return {key: Share(_percent(group), len(group)) for key, group in groups.items()}

    openness = by(lambda q: q["types"]["structural"] == "query")
    within = lambda kind: _percent(
        predictions[name] in _accepted(q, choices[name][kind]) for name, q in balanced.items()
    )
    return GQAScores(
        accuracy=_percent(right[name] for name in balanced),
        binary=openness.get(False, Share(0.0, 0)).percent,
        open=openness.get(True, Share(0.0, 0)).percent,
        validity=within("valid"),
        plausibility=within("plausible"),
        consistency=_percent(_entailed_right(balanced, right)),
        distribution=_distribution(balanced, predictions),
        by_structural_type=by(lambda q: q["types"]["structural"]),
        by_semantic_type=by(lambda q: q["types"]["semantic"]),
        by_steps=by(_steps),
        by_length=by(lambda q: len(q["question"].split())),
    )


def _require(what: str, questions: Iterable[str], given: Mapping[str, Any]) -> None:
    missing = [name for name in questions if name not in given]
    if missing:
        raise ValueError(f'{len(missing)} questions lack their {what}, such as "{missing[0]}"')


def _percent(values: Iterable[float]) -> float:
    """Returns 100 times the mean; 0 without a value, as the official script has it."""
    values = [float(value) for value in values]
    return 100 * sum(values) / len(values) if values else 0.0


def _accepted(question: Question, answers: Iterable[str]) -> Iterable[str]:
    return _COMMON_ANSWERS if "Common" in question["types"]["detailed"] else answers


def _steps(question: Question) -> int:
    steps = [f"{step['operation']}: {step['argument']}" for step in question["semantic"]]
    return sum(not any(known in step for known in _UNCOUNTED_STEPS) for step in steps)


def _entailed_right(balanced: Mapping[str, Question], right: Mapping[str, bool]) -> Iterable[float]:
    """Yields, for each right answer that entails others, the share of those that are right."""
    for name, question in balanced.items():
        entailed = [other for other in question["entailed"] if other != name]
        if right[name] and entailed:
            _require("prediction", entailed, right)
            yield sum(right[other] for other in entailed) / len(entailed)


def _distribution(balanced: Mapping[str, Question], predictions: Mapping[str, str]) -> float:
    gold, given = defaultdict(Counter), defaultdict(Counter)
    for name, question in balanced.items():
        group = question["groups"]["global"]
        if group is not None:
            gold[group][question["answer"]] += 1
            given[group][predictions[name]] += 1
    if not gold:
        return float("nan")
    distances = [
        sum((given[group][answer] - count) ** 2 / count for answer, count in counts.items())
        for group, counts in gold.items()
    ]
    return float(np.average(distances, weights=[c.total() for c in gold.values()])) / 100
