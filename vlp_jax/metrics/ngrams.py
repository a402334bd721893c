"""Counts of n-grams, which BLEU and CIDEr share."""

from collections import Counter
from collections.abc import Sequence

Ngram = tuple[str, ...]


def ngram_counts(words: Sequence[str], orders: int) -> Counter[Ngram]:
    """Returns how often each sequence of 1 to `orders` neighbouring words occurs."""
    counts: Counter[Ngram] = Counter()
    for order in range(1, orders + 1):
        counts.update(zip(*(words[start:] for start in range(order))))
    return counts
