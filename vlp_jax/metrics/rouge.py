"""ROUGE-L of captions (Lin 2004) as the COCO caption evaluation computes it."""

from collections.abc import Sequence

import numpy as np

from vlp_jax.metrics.checks import caption_pairs

_BETA = 1.2  # how much more recall weighs than precision


def rouge_l(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, np.ndarray]:
    """Returns the mean over captions, and each caption's score [N], in 0..1.

    An F-measure of the longest common subsequence's share in the candidate (precision) and in the
    reference (recall), each the largest over the references on its own, as pycocoevalcap has it.
    Texts are tokenised, with one blank between tokens; an empty text is one empty token.
    """
    pairs = caption_pairs(candidates, references)
    scores = np.array([_score(caption, texts) for caption, texts in pairs], np.float64)
    return float(scores.mean()), scores


def _score(caption: str, references: Sequence[str]) -> float:
    words = caption.split(" ")
    precision = recall = 0.0
    for reference in references:
        other = reference.split(" ")
        common = _common_subsequence(words, other)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(other))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence.

    A row of the usual table is one integer: bit i is 0 where the length grows at `first[i]`
    (Hyyrö 2004), so that a word of `second` costs four operations.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << index
    whole = (1 << len(first)) - 1
    row = whole
    for word in second:
        if matches := row & places.get(word, 0):
            row = ((row + matches) | (row - matches)) & whole
    return len(first) - row.bit_count()
