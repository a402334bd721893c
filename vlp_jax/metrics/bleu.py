"""BLEU-1 to BLEU-4 of captions (Papineni et al. 2002), as the COCO evaluation computes them."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlp_jax.metrics.checks import caption_pairs
from vlp_jax.metrics.ngrams import ngram_counts

ORDERS = 4
# The published code's guards against division by zero: part of every score.
_TINY, _SMALL = 1e-15, 1e-9


class _Counts(NamedTuple):
    """Of one caption: its length, that of the closest reference, n-grams made and matched [4]."""

    length: int
    reference_length: int
    made: np.ndarray
    matched: np.ndarray


def bleu(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns BLEU-1..4 of the corpus [4], and of each caption on its own [4, N], in 0..1.

    `candidates[i]` is the caption of image i and `references[i]` are its references, all tokenised
    with blanks between tokens (`caption_tokens.tokenize_caption`). Matches are clipped at the most
    that one reference has; the reference length is the closest to the candidate's, the shorter of
    two (pycocoevalcap, option "closest"). The corpus figure pools counts and lengths of all
    captions and is no mean.
    """
    counts = [_count(caption, texts) for caption, texts in caption_pairs(candidates, references)]
    lengths, reference_lengths, made, matched = (np.array(column) for column in zip(*counts))
    corpus = _score(lengths.sum(), reference_lengths.sum(), made.sum(0), matched.sum(0))
    return corpus, _score(lengths, reference_lengths, made, matched).T


def _count(caption: str, references: Sequence[str]) -> _Counts:
    words, references = caption.split(), [reference.split() for reference in references]
    most: Counter = Counter()
    for reference in references:
        most |= ngram_counts(reference, ORDERS)
    matched = np.zeros(ORDERS, np.int64)
    for ngram, count in ngram_counts(words, ORDERS).items():
        matched[len(ngram) - 1] += min(count, most[ngram])
    closest = min((abs(len(r) - len(words)), len(r)) for r in references)[1]
    made = np.maximum(len(words) - np.arange(ORDERS), 0)
    return _Counts(len(words), closest, made, matched)


def _score(
    length: np.ndarray, reference_length: np.ndarray, made: np.ndarray, matched: np.ndarray
) -> np.ndarray:
    """Returns the scores [..., 4] from lengths [...] and counts [..., 4]."""
    precisions = np.cumprod((matched + _TINY) / (made + _SMALL), axis=-1)
    scores = precisions ** (1.0 / np.arange(1, ORDERS + 1))
    ratio = (length + _TINY) / (reference_length + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return scores * np.expand_dims(brevity, -1)
