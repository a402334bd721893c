"""VQA accuracy: the official metric over ten annotators, and soft scores of fixed answers."""

import re
from collections.abc import Iterable, Mapping, Sequence

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
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'  # neither the apostrophe nor the colon (times of day)
_PERIOD = re.compile(r"\.(?!\d)")
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


def _without_punctuation(text: str) -> str:
    """Deletes marks that touch a space (in a text with "1,000": all); others become a space."""
    number = _COMMA_IN_NUMBER.search(text) is not None
    result = text
    for mark in _PUNCTUATION:
        touches_space = f"{mark} " in text or f" {mark}" in text
        result = result.replace(mark, "" if touches_space or number else " ")
    return _PERIOD.sub("", result)


def normalize_answer(answer: str) -> str:
    """Returns an answer in the form in which the official VQA evaluation compares answers.

    Lower case; no articles; number words as digits ("none" is 0); punctuation removed except
    apostrophes, colons and decimal points; missing apostrophes of contractions restored
    (visualqa.org/evaluation, Antol et al. 2015, section 3).
    """
    words = _without_punctuation(" ".join(answer.split())).lower().split()
    words = [_DIGIT_OF.get(word, word) for word in words]
    return " ".join(_CONTRACTION_OF.get(word, word) for word in words if word not in _ARTICLES)


def answer_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Returns the official accuracy of one predicted answer in 0..1.

    min(n / 3, 1) for n agreeing annotators, averaged over all subsets that leave one annotator out.
    As in the official code, answers are normalised only where the annotators disagree in spelling.
    Raises ValueError for fewer than four answers, with which 1 cannot be reached.
    """
    if isinstance(answers, str) or len(answers) < 4:
        raise ValueError(f"answers is {answers!r}, expected a list of at least 4 (official: 10)")
    prediction, answers = (" ".join(prediction.split()), [" ".join(a.split()) for a in answers])
    if len(set(answers)) > 1:
        prediction = normalize_answer(prediction)
        answers = [normalize_answer(answer) for answer in answers]
    agree = [answer == prediction for answer in answers]
    return float(np.mean([min((sum(agree) - own) / 3, 1.0) for own in agree]))


def vqa_accuracies(predictions: Sequence[str], answers: Sequence[Sequence[str]]) -> np.ndarray:
    """Returns the official accuracy of each question, float64 [N]; its mean is the score.

    `answers[i]` holds the annotators' answers to question i.
    """
    same_length(predictions=predictions, answers=answers)
    return np.array([answer_accuracy(p, a) for p, a in zip(predictions, answers)], np.float64)


def soft_scores(logits: np.ndarray, answer_scores: np.ndarray) -> np.ndarray:
    """Returns the target score of the highest logit of each example, [N, A], [N, A] → [N]."""
    logits = no_nan("logits", array_of_shape("logits", logits, ("examples", "answers")))
    answer_scores = array_of_shape("answer_scores", answer_scores, logits.shape)
    return np.take_along_axis(answer_scores, logits.argmax(1)[:, None], axis=1)[:, 0]


def soft_accuracy(
    logits: np.ndarray, answer_scores: np.ndarray, mask: np.ndarray | None = None
) -> float:
    """Returns the mean soft score where `mask` (bool [N]) is True; NaN when that is nowhere."""
    scores = soft_scores(logits, answer_scores)
    kept = scores[bool_mask("mask", mask, scores.shape)]
    return float(kept.mean()) if kept.size else float("nan")


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
