"""VQA accuracy: the official metric over ten annotators, and soft scores of fixed answers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vlp_jax.metrics.checks import array_of_shape, bool_mask, no_nan, same_length

# Contracted words whose spelling without an apostrophe is put right. Words such as "she'll" or
# "let's" are left out on purpose: "shell" and "lets" are words of their own.
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's
they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()
_NUMBERS = "zero one two three four five six seven eight nine ten".split()
_DIGIT_OF = {"none": "0"} | {word: str(value) for value, word in enumerate(_NUMBERS)}
_ARTICLES = frozenset(("a", "an", "the"))
_MARKS = ';/[]"{}()=+\\_-><@`,?!'  # neither the apostrophe nor the colon (times of day)
_STOP = re.compile(r"\.(?!\d)")
_MOST_STOPS = 32  # the published code passes a flag where the number of replacements belongs
_COMMA_IN_NUMBER = re.compile(r"\d,\d")


def _misspellings(words: Iterable[str]) -> dict[str, str]:
    """Maps each word with exactly one of its apostrophes missing to the word."""
    return {
        word[:at] + word[at + 1 :]: word
        for word in words
        for at, letter in enumerate(word)
        if letter == "'"
    }


# The published table has this one entry the wrong way round; scores must agree with it.
_CONTRACTION_OF = _misspellings(_CONTRACTED) | {"somebody'd": "somebodyd"}


def trim_answer(answer: str) -> str:
    """Returns an answer with blanks for line feeds and tabs, and without blanks around it."""
    return answer.replace("\n", " ").replace("\t", " ").strip()


def remove_punctuation(answer: str) -> str:
    """Returns an answer after the punctuation step of the official evaluation.

    A mark is deleted if it, anywhere in the text, touches a blank, or if the text holds a number
    such as 1,000; else it becomes a blank. Full stops go, apart from those before a digit and from
    the 33rd on.
    """
    in_number = _COMMA_IN_NUMBER.search(answer) is not None
    result = answer
    for mark in _MARKS:
        deleted = in_number or f"{mark} " in answer or f" {mark}" in answer
        result = result.replace(mark, "" if deleted else " ")
    return _STOP.sub("", result, count=_MOST_STOPS)


def normalize_answer(answer: str) -> str:
    """Returns an answer in the form in which the official VQA evaluation compares answers.

    Trimmed, without punctuation, in lower case; number words as digits ("none" is 0); no articles;
    missing apostrophes of contractions restored (visualqa.org/evaluation; GT-Vision-Lab/VQA,
    vqaEval.py, with its quirks, since scores must agree).
    """
    words = remove_punctuation(trim_answer(answer)).lower().split()
    words = [_DIGIT_OF.get(word, word) for word in words]
    return " ".join(_CONTRACTION_OF.get(word, word) for word in words if word not in _ARTICLES)


def answer_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Returns the official accuracy of one predicted answer in 0..1.

    min(n / 3, 1) for n agreeing annotators, averaged over all subsets that leave one annotator out
    (Antol et al. 2015, section 3). As in the official code, answers are only trimmed where the
    annotators agree in spelling, and normalised elsewhere.
    Raises ValueError for fewer than four answers, with which 1 cannot be reached.
    """
    if isinstance(answers, str) or len(answers) < 4:
        raise ValueError(f"answers is {answers!r}, expected a list of at least 4 (official: 10)")
    prediction, answers = trim_answer(prediction), [trim_answer(answer) for answer in answers]
    if len(set(answers)) > 1:
        prediction = normalize_answer(prediction)
        answers = [normalize_answer(answer) for answer in answers]
    agree = [answer == prediction for answer in answers]
    return sum(min(1.0, (sum(agree) - own) / 3) for own in agree) / len(answers)


def vqa_accuracies(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """Returns the official accuracy of each question in 0..1, float64 [N]; its mean is the score.

    `answers[i]` holds the annotators' answers to question i.
    """
    same_length(predictions=predictions, answers=answers)
    return np.array([answer_accuracy(p, a) for p, a in zip(predictions, answers)], np.float64)


class VQAScores(NamedTuple):
    """Official figures in percent: of all questions, and by type of question and of answer.

    `per_question` is the accuracy of each question in 0..1, float64 [N].
    """

    per_question: np.ndarray
    overall: float
    by_question_type: Mapping[str, float]
    by_answer_type: Mapping[str, float]


def vqa_scores(
    predictions: Sequence[str],
    answers: Sequence[Sequence[str]],
    question_types: Sequence[str],
    answer_types: Sequence[str],
) -> VQAScores:
    """Returns what the official evaluation prints, there rounded to two digits.

    `answers[i]` holds the annotators' answers to question i; the types are those of the annotation
    file ("what is"; "yes/no", "number", "other"). All have one entry per question, at least one.
    """
    if not same_length(
        predictions=predictions,
        answers=answers,
        question_types=question_types,
        answer_types=answer_types,
    ):
        raise ValueError("there are no questions, expected at least one")
    accuracies = vqa_accuracies(predictions, answers)
    return VQAScores(
        accuracies,
        _percent(accuracies),
        _percent_by(question_types, accuracies),
        _percent_by(answer_types, accuracies),
    )


def _percent(accuracies: Sequence[float]) -> float:
    """Returns the mean in percent, added up in order, so that it rounds like the original's."""
    return 100 * sum(map(float, accuracies)) / len(accuracies)


def _percent_by(types: Sequence[str], accuracies: np.ndarray) -> dict[str, float]:
    rows = {kind: [i for i, other in enumerate(types) if other == kind] for kind in set(types)}
    return {kind: _percent(accuracies[rows[kind]]) for kind in sorted(rows)}


def soft_scores(logits: np.ndarray, answer_scores: np.ndarray) -> np.ndarray:
    """Returns the target score of the highest logit of each example, [N, A], [N, A] → [N]."""
    logits = no_nan("logits", array_of_shape("logits", logits, ("examples", "answers")))
    answer_scores = array_of_shape("answer_scores", answer_scores, logits.shape)
    return np.take_along_axis(answer_scores, logits.argmax(1)[:, None], axis=1)[:, 0]


def accuracy_by_type(
    scores: np.ndarray, types: Sequence[str], mask: np.ndarray | None = None
) -> Mapping[str, float]:
    """Returns the mean of `scores` [N] for each question type, sorted by type.

    Types without an example under `mask` (bool [N]) are left out.
    """
    same_length(scores=scores, types=types)
    scores = array_of_shape("scores", scores, ("examples",))
    mask = bool_mask("mask", mask, scores.shape)
    types = np.asarray(types, object)
    return {kind: float(scores[mask & (types == kind)].mean()) for kind in sorted(set(types[mask]))}
