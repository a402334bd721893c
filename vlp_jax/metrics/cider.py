"""CIDEr of captions (Vedantam et al. 2015): similarity of n-grams weighted by how telling they are.

`cider` is CIDEr-D, the variant of the COCO evaluation and of all published tables; `plain=True` is
the paper's first definition.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Rarity:
    """How telling n-grams are: `images` there are, and `frequency[ngram]` of them have an n-gram.

    Texts are tokens with blanks between them.
    """

    images: float
    frequency: Mapping[Ngram, float]

    @classmethod
    def of(cls, references: Iterable[Sequence[str]]) -> "Rarity":
        """Returns that of the references of each image."""
        images, frequency = 0, Counter()
        for images, texts in enumerate(references, 1):
            counted = (ngram_counts(text.split(), _ORDERS) for text in texts)
            frequency.update(set().union(*counted))
        return cls(images, frequency)

    def scores(
        self, candidates: Iterable[str], references: Sequence[str], *, plain: bool = False
    ) -> list[float]:
        """Returns the score of each candidate of one image against its references, 0 to 10."""
        others = [self._vector(text) for text in references]
        vectors = map(self._vector, candidates)
        return [
            _SCALE * sum(_similarity(v, o, plain) for o in others) / len(others) for v in vectors
        ]

    def _vector(self, text: str) -> _Vector:
        weights: list[dict[Ngram, float]] = [{} for _ in range(_ORDERS)]
        bigrams, unseen = 0, math.log(self.images)
        for ngram, count in ngram_counts(text.split(), _ORDERS).items():
            known = math.log(max(1, self.frequency.get(ngram, 1)))
            weights[len(ngram) - 1][ngram] = count * (unseen - known)
            bigrams += count if len(ngram) == 2 else 0
        return _Vector(weights, [math.hypot(*order.values()) for order in weights], bigrams)


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
    rarity = Rarity.of(texts for _, texts in pairs)
    scores = [rarity.scores([text], texts, plain=plain)[0] for text, texts in pairs]
    return float(np.mean(scores)), np.array(scores)


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
