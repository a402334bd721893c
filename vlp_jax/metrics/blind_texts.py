"""Text-only n-gram baselines: masked tokens by their neighbours, captions by plausibility."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from vlp_jax.metrics.blind_answers import words_of
from vlp_jax.metrics.checks import array_of_shape, bool_mask, same_length
from vlp_jax.metrics.classification import pairwise_accuracy

_OUTSIDE = -1  # stands where a sequence has ended
# Neighbour offsets of each context, from the least to the most specific.
_CONTEXTS = (
    (), (2,), (-2,), (1,), (-1,), (-1, 1), (-1, 1, 2), (-2, -1, 1), (-2, -1, 1, 2),
)  # fmt: skip
_KEPT_PER_CONTEXT = 50
_TRUST = 1.0  # pseudo-observations given to the less specific context's estimate

Context = tuple[int, ...]
Table = dict[Context, tuple[int, dict[int, int]]]


class ContextMLM:
    """Predicts a masked token from up to two neighbours on either side.

    The estimate of each context is mixed into that of the less specific ones,
    p = (count + p_back-off) / (total + 1), so a context never seen, such as one with a masked
    neighbour, falls back by itself.
    """

    def __init__(self, tables: Sequence[Table]):
        self._tables = tables

    @classmethod
    def fit(cls, sequences: Iterable[Sequence[int]]) -> "ContextMLM":
        """Counts token ids by context; a sequence is the ids of one text without padding."""
        tokens = [_OUTSIDE, _OUTSIDE]  # all texts in one row, kept apart by two markers
        for sequence in sequences:
            tokens += [*map(int, sequence), _OUTSIDE, _OUTSIDE]
        if all(token == _OUTSIDE for token in tokens):
            raise ValueError("a baseline cannot be fitted on zero tokens")
        return cls([_count(tokens, offsets) for offsets in _CONTEXTS])

    def predict(self, sequence: Sequence[int], position: int) -> int:
        """Returns the most probable token id at `position`; equal ones give the smallest id."""
        padded = (_OUTSIDE, _OUTSIDE, *sequence, _OUTSIDE, _OUTSIDE)
        share: dict[int, float] = {}
        for offsets, table in zip(_CONTEXTS, self._tables):
            found = table.get(tuple(padded[position + 2 + offset] for offset in offsets))
            if found is None:
                continue
            total, counts = found
            share = {token: _TRUST * p / (total + _TRUST) for token, p in share.items()}
            for token, count in counts.items():
                share[token] = share.get(token, 0.0) + count / (total + _TRUST)
        return min(share, key=lambda token: (-share[token], token))

    def accuracy(
        self, mlm_ids: np.ndarray, mlm_labels: np.ndarray, text_mask: np.ndarray, ignore: int = -100
    ) -> float:
        """Returns the accuracy at positions whose label is not `ignore`; NaN when there is none.

        All arrays are [B, L] as in a batch: `mlm_ids` is what a model reads, `text_mask` (bool) is
        False at padding.
        """
        ids = array_of_shape("mlm_ids", mlm_ids, ("texts", "length"))
        labels = array_of_shape("mlm_labels", mlm_labels, ids.shape)
        ids = np.where(bool_mask("text_mask", text_mask, ids.shape), ids, _OUTSIDE)
        rows, places = np.nonzero(labels != ignore)
        texts = ids.tolist()
        hits = [self.predict(texts[r], p) == labels[r, p] for r, p in zip(rows, places)]
        return float(np.mean(hits)) if hits else float("nan")


def _count(tokens: list[int], offsets: Context) -> Table:
    """Returns how often each token stands in each context made of the neighbours at `offsets`."""
    windows = zip(*(tokens[2 + o : len(tokens) - 2 + o] for o in (*offsets, 0)), strict=True)
    table: dict[Context, Counter[int]] = {}
    for (*key, token), times in Counter(windows).items():
        if token != _OUTSIDE:
            table.setdefault(tuple(key), Counter())[token] = times
    return {key: _strongest(counts) for key, counts in table.items()}


def _strongest(counts: Counter[int]) -> tuple[int, dict[int, int]]:
    """Returns the total and the most frequent tokens of one context; rare ones never win."""
    best = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_KEPT_PER_CONTEXT]
    return counts.total(), dict(best)


class TextPlausibility:
    """An n-gram language model over words, smoothed as Witten and Bell (1991) do.

    p(w | h) = (count(h, w) + kinds(h) · p(w | shorter h)) / (count(h) + kinds(h)), where kinds(h)
    is how many different words follow h. The shortest history backs off to a uniform share of the
    vocabulary and one unknown word.
    """

    def __init__(self, order: int, follow: dict[tuple[str, ...], Counter[str]]):
        self.order, self._follow = order, follow
        self._total = {history: counts.total() for history, counts in follow.items()}
        self._floor = 1.0 / (len(follow[()]) + 1)

    @classmethod
    def fit(cls, texts: Iterable[str], order: int = 3) -> "TextPlausibility":
        """Counts which word follows which `order` - 1 words."""
        if order < 1:
            raise ValueError(f"order is {order}, expected at least 1")
        follow: dict[tuple[str, ...], Counter[str]] = {}
        for text, times in Counter(map(words_of, texts)).items():
            for history, word in _steps(text, order):
                for start in range(len(history) + 1):
                    follow.setdefault(history[start:], Counter())[word] += times
        if not follow:
            raise ValueError("a baseline cannot be fitted on zero texts")
        return cls(order, follow)

    def score(self, text: str) -> float:
        """Returns the natural log probability of a text, its end included."""
        return sum(math.log(self._share(h, w)) for h, w in _steps(words_of(text), self.order))

    def _share(self, history: tuple[str, ...], word: str) -> float:
        share = self._floor
        for start in range(len(history), -1, -1):
            if (counts := self._follow.get(history[start:])) is None:
                break
            kinds = len(counts)
            share = (counts[word] + kinds * share) / (self._total[history[start:]] + kinds)
        return share


def _steps(words: Sequence[str], order: int) -> Iterable[tuple[tuple[str, ...], str]]:
    """Yields each word, and the end, with the `order` - 1 words before it."""
    padded = ("\n",) * (order - 1) + tuple(words) + ("\n",)
    for end in range(order - 1, len(padded)):
        yield padded[end - order + 1 : end], padded[end]


def blind_near_miss_accuracies(
    train_texts: Iterable[str], truths: Sequence[str], foils: Sequence[str]
) -> dict[str, float]:
    """Returns how often each text-only rule prefers the true caption to its foil, by its name.

    `truths[i]` and `foils[i]` are a pair. The rules: n-gram plausibility of the whole text, the
    same per word, the shorter text, the longer text. Ties count one half.
    """
    if not same_length(truths=truths, foils=foils):
        raise ValueError("there are zero pairs, expected at least one")
    model = TextPlausibility.fit(train_texts)
    rules = {
        "n-gram plausibility": model.score,
        "n-gram plausibility per word": lambda text: model.score(text) / (len(words_of(text)) + 1),
        "the shorter text": lambda text: -len(words_of(text)),
        "the longer text": lambda text: len(words_of(text)),
    }
    return {
        name: pairwise_accuracy([rule(t) for t in truths], [rule(f) for f in foils])
        for name, rule in rules.items()
    }


def best_blind_near_miss(
    train_texts: Iterable[str], truths: Sequence[str], foils: Sequence[str]
) -> tuple[float, str]:
    """Returns the accuracy and name of the text-only rule that is best on these pairs."""
    accuracies = blind_near_miss_accuracies(train_texts, truths, foils)
    name = max(accuracies, key=accuracies.__getitem__)
    return accuracies[name], name
