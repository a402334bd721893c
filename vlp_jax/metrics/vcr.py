"""Visual commonsense reasoning: the answer, the rationale of the true answer, and both."""

from collections.abc import Mapping

import numpy as np

from vlp_jax.metrics.checks import array_of_shape, no_nan

_CHOICES = 4


def vcr_accuracies(
    scores: np.ndarray, answer_labels: np.ndarray, rationale_labels: np.ndarray
) -> Mapping[str, float]:
    """Returns `q_to_a`, `qa_to_r` and `q_to_ar` in 0..1 (Zellers et al. 2019, section 2).

    Args:
        scores: [N, 5, 4], one row of `rowanz/r2c`'s submission file per question: row 0 scores the
            four answers, row 1 + a the four rationales given answer a. Of equal ones the first
            wins.
        answer_labels, rationale_labels: int [N] in 0..3. QA→R is asked with the true answer; Q→AR
            needs both right.
    """
    scores = no_nan("scores", array_of_shape("scores", scores, ("questions", 5, _CHOICES)))
    answers = _labels("answer_labels", answer_labels, len(scores))
    rationales = _labels("rationale_labels", rationale_labels, len(scores))
    if not len(scores):
        raise ValueError("scores has no question, expected at least one")
    chosen = scores.argmax(-1)
    answered = chosen[:, 0] == answers
    reasoned = chosen[np.arange(len(scores)), 1 + answers] == rationales
    return {
        "q_to_a": float(answered.mean()),
        "qa_to_r": float(reasoned.mean()),
        "q_to_ar": float((answered & reasoned).mean()),
    }


def _labels(name: str, labels: np.ndarray, count: int) -> np.ndarray:
    labels = array_of_shape(name, labels, (count,))
    if count and (labels.min() < 0 or labels.max() >= _CHOICES):
        raise ValueError(f"{name} span {labels.min()}..{labels.max()}, expected 0..{_CHOICES - 1}")
    return labels
