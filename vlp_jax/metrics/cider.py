"""CIDEr of captions (Vedantam et al. 2015): similarity of n-grams weighted by how telling they are.

`cider` is CIDEr-D, the variant of the COCO evaluation and of all published tables; `plain=True` is
the paper's first definition.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vlp_jax.metrics.checks import caption_pairs
from vlp_jax.metrics.ngrams import Ngram, ngram_counts

_ORDERS = 4
_SIGMA = 6.0  # of the penalty on different lengths, in words
_SCALE = 10.0


class _Vector(NamedTuple):
    """A text: weights of its n-grams by order, their norms, and its length in bigrams."""

    weights: list[dict[Ngram, float]]
    norms: list[float]
    bigrams: int


def cider(
    candidates: Sequence[str], references: Sequence[Sequence[str]], *, plain: bool = False
) -> tuple[float, np.ndarray]:
    """Returns the mean over images, and each image's score [N], from 0 up to 10.

    `candidates[i]` is the caption of image i and `references[i]` are its references, tokenised with
    blanks between tokens. An n-gram's weight is its count times ln(N / images with it in a
    reference), N the number of images given here, so that scores depend on the whole set and those
    of one image are 0. `plain` leaves out clipping and the penalty on lengths. As in pycocoevalcap
    (vrama91/cider) length is measured in bigrams.
    """
    pairs = caption_pairs(candidates, references)
    counted = [[ngram_counts(text.split(), _ORDERS) for text in texts] for _, texts in pairs]
    frequency: Counter[Ngram] = Counter()
    for counts in counted:
        frequency.update(set().union(*counts))
    rarity = _rarity(frequency, len(counted))
    scores = []
    for caption, counts in zip(candidates, counted):
        vector = _vector(ngram_counts(caption.split(), _ORDERS), rarity, len(counted))
        others = (_vector(reference, rarity, len(counted)) for reference in counts)
        scores.append(_SCALE * sum(_similarity(vector, o, plain) for o in others) / len(counts))
    return float(np.mean(scores)), np.array(scores)


def _rarity(frequency: Mapping[Ngram, int], images: int) -> dict[Ngram, float]:
    return {ngram: math.log(images) - math.log(count) for ngram, count in frequency.items()}


def _vector(counts: Mapping[Ngram, int], rarity: Mapping[Ngram, float], images: int) -> _Vector:
    weights: list[dict[Ngram, float]] = [{} for _ in range(_ORDERS)]
    unseen, bigrams = math.log(images), 0
    for ngram, count in counts.items():
        weights[len(ngram) - 1][ngram] = count * rarity.get(ngram, unseen)
        bigrams += count if len(ngram) == 2 else 0
    return _Vector(weights, [math.hypot(*order.values()) for order in weights], bigrams)


def _similarity(candidate: _Vector, reference: _Vector, plain: bool) -> float:
    total = 0.0
    for order in range(_ORDERS):
        other = reference.weights[order]
        norm = candidate.norms[order] * reference.norms[order]
        shared = ((w, other[g]) for g, w in candidate.weights[order].items() if g in other)
        dot = sum((w if plain else min(w, o)) * o for w, o in shared)
        total += dot / norm if norm else 0.0
    apart = 0 if plain else candidate.bigrams - reference.bigrams
    return total / _ORDERS * math.exp(-(apart**2) / (2 * _SIGMA**2))
