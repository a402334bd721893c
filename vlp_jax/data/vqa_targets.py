"""Soft targets of VQA: how much each answer is worth in training, from its annotators' answers."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence


def capped_targets(answers: Sequence[str], known: Container[str] | None = None) -> dict[str, float]:
    """Returns answer → min(1, 0.3 · n) for an answer that n annotators gave.

    The rule of UNITER, ViLBERT, LXMERT, VisualBERT and OSCAR (Teney et al. 2018; script
    `compute_softscore.py` of hengyuan-hu/bottom-up-attention-vqa). The strings are counted as
    given, without normalisation; those that are not in the answer list `known` are left out.
    """
    counts = _counts(answers)
    targets = {answer: min(1.0, 3 * count / 10) for answer, count in counts.items()}
    return {a: target for a, target in targets.items() if known is None or a in known}


def share_targets(answers: Sequence[str]) -> dict[str, float]:
    """Returns answer → share of the annotators that gave it: n / 10 for ten (ALBEF, section 5.3).

    The strings are counted as given and need not be in an answer list.
    """
    return {answer: count / len(answers) for answer, count in _counts(answers).items()}


def given_answers(shares: Mapping[str, float], annotators: int) -> list[str]:
    """Returns one answer for each annotator, from the share of them that gave each answer."""
    return [answer for answer, share in shares.items() for _ in range(round(share * annotators))]


def _counts(answers: Sequence[str]) -> Counter[str]:
    if isinstance(answers, str) or not len(answers):
        raise ValueError(f"answers is {answers!r}, expected one text per annotator")
    return Counter(answers)
