"""Image-text retrieval metrics: recall at k, median rank, chance values and re-ranking.

Ties are broken in expectation: candidates with equal scores count as if drawn in random order, and
the exact expected value over all orders is returned. A model that gives every candidate the same
score therefore reaches chance, neither 0 nor 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vlp_jax.metrics.checks import array_of_shape, no_nan
from vlp_jax.metrics.figures import twin

_ROWS_AT_ONCE = 512  # bounds the temporary arrays for galleries of 25,000 captions


class _BestPositive(NamedTuple):
    """How the best-scored positive of every query stands among its candidates, int [Nq] each."""

    higher: np.ndarray
    tied: np.ndarray
    tied_positives: np.ndarray


def _best_positive(scores: np.ndarray, positives: np.ndarray) -> _BestPositive:
    scores = no_nan("scores", array_of_shape("scores", scores, ("queries", "candidates")))
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    positives = array_of_shape("positives", positives, scores.shape)
    if positives.dtype != bool:
        raise ValueError(f"positives has dtype {positives.dtype}, expected bool")
    lonely = np.flatnonzero(~positives.any(axis=1))
    if lonely.size or not len(scores):
        which = f"query {lonely[0]} has no positive candidate" if lonely.size else "no queries"
        raise ValueError(f"{which} ({lonely.size} of {len(scores)} queries)")
    parts = []
    for start in range(0, len(scores), _ROWS_AT_ONCE):
        s, p = scores[start : start + _ROWS_AT_ONCE], positives[start : start + _ROWS_AT_ONCE]
        best = np.max(s, axis=1, keepdims=True, where=p, initial=-np.inf)
        tied = s == best
        parts.append(((s > best).sum(1), tied.sum(1), (tied & p).sum(1)))
    return _BestPositive(*(np.concatenate(column) for column in zip(*parts)))


def _hit_probability(total: np.ndarray, positives: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """P(at least one positive among `draws` of `total` candidates drawn without replacement)."""
    total, positives, draws = np.broadcast_arrays(total, positives, draws)
    miss = np.ones(total.shape)
    for i in range(int(draws.max(initial=0))):
        step = np.maximum(total - positives - i, 0) / np.maximum(total - i, 1)
        miss = np.where(i < draws, miss * step, miss)
    return 1.0 - miss


def recall_at_k(
    scores: np.ndarray, positives: np.ndarray, ks: Sequence[int] = (1, 5, 10)
) -> dict[int, float]:
    """Returns the share of queries with at least one positive among the k best candidates.

    Args:
        scores: [queries, candidates], higher is better; ties count in expectation (see module).
        positives: bool [queries, candidates]; several per query are allowed, any of them is a hit
            (COCO: five captions an image).
        ks: cut-offs, each at least 1.

    Raises:
        ValueError: shapes disagree, a score is NaN, or a query has no positive.
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"ks is {tuple(ks)}, expected cut-offs of at least 1")
    best = _best_positive(scores, positives)
    recalls = {}
    for k in ks:
        draws = np.clip(k - best.higher, 0, best.tied)
        recalls[k] = float(_hit_probability(best.tied, best.tied_positives, draws).mean())
    return recalls


def median_rank(scores: np.ndarray, positives: np.ndarray) -> float:
    """Returns the median over queries of the best positive's rank, 1 being first.

    Among tied candidates the expected rank of the first positive is taken. Arguments and errors as
    in `recall_at_k`.
    """
    best = _best_positive(scores, positives)
    return float(np.median(best.higher + (best.tied + 1) / (best.tied_positives + 1)))


def chance_recall(candidates: int, positives_per_query: int | np.ndarray, k: int) -> float:
    """Returns the expected recall at k of a random order: 1 - C(N-p, k) / C(N, k).

    `positives_per_query` may be an array [queries]; the mean over queries is returned.
    """
    positives = np.atleast_1d(np.asarray(positives_per_query))
    if candidates < 1 or k < 1 or positives.min() < 1 or positives.max() > candidates:
        raise ValueError(
            f"chance_recall({candidates=}, {positives_per_query=}, {k=}): expected "
            "1 <= positives <= candidates and k >= 1"
        )
    draws = np.asarray(min(k, candidates))
    return float(_hit_probability(np.asarray(candidates), positives, draws).mean())


def _one_direction(
    direction: str, scores: np.ndarray, positives: np.ndarray, ks: Sequence[int], suffix: str
) -> dict[str, float]:
    figures, candidates, per_query = {}, scores.shape[1], positives.sum(1)
    for k, recall in recall_at_k(scores, positives, ks).items():
        name = f"{direction}_r{k}{suffix}"
        figures[name] = recall
        figures[twin(name, "chance")] = chance_recall(candidates, per_query, k)
    name = f"{direction}_median_rank{suffix}"
    figures[name] = median_rank(scores, positives)
    figures[twin(name, "chance")] = float(np.median((candidates + 1) / (per_query + 1)))
    return figures


def retrieval_report(
    sims: np.ndarray,
    image_ids: np.ndarray,
    text_image_ids: np.ndarray,
    *,
    text_scores: np.ndarray | None = None,
    suffix: str = "",
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Returns recalls and median ranks both ways under flat names, each with its chance twin.

    Names: `i2t_r1`, `i2t_r1_chance`, …, `i2t_median_rank`, and the same with `t2i`; `suffix` (such
    as "_itm") is put behind the figure: `i2t_r1_itm`, `i2t_r1_itm_chance`.

    Args:
        sims: [images, texts] similarities.
        image_ids: [images]; text_image_ids: [texts], the id of the image a text belongs to.
        text_scores: [texts, images] for the text→image direction where it is not simply the
            transpose of `sims`, as after re-ranking each direction on its own.
    """
    sims = array_of_shape("sims", sims, ("images", "texts"))
    image_ids = array_of_shape("image_ids", image_ids, sims.shape[:1])
    text_image_ids = array_of_shape("text_image_ids", text_image_ids, sims.shape[1:])
    if text_scores is None:
        text_scores = sims.T
    text_scores = array_of_shape("text_scores", text_scores, sims.shape[::-1])
    positives = image_ids[:, None] == text_image_ids[None, :]
    return _one_direction("i2t", sims, positives, ks, suffix) | _one_direction(
        "t2i", text_scores, positives.T, ks, suffix
    )


def rerank(scores: np.ndarray, topk_indices: np.ndarray, new_scores: np.ndarray) -> np.ndarray:
    """Returns scores in which the re-scored candidates of each query stand above all others.

    The re-scored candidates carry their new score alone; the others are moved, in their old order,
    below the lowest new score of the same query (ALBEF, evaluation: the ITM score decides among
    the k candidates best by ITC).

    Args:
        scores: [queries, candidates]; topk_indices: int [queries, k], distinct in each row;
        new_scores: [queries, k]. All finite.

    Returns: float64 [queries, candidates], finite.
    """
    scores = array_of_shape("scores", scores, ("queries", "candidates")).astype(np.float64)
    topk = array_of_shape("topk_indices", topk_indices, (len(scores), "k"))
    new_scores = array_of_shape("new_scores", new_scores, topk.shape).astype(np.float64)
    if not (np.isfinite(scores).all() and np.isfinite(new_scores).all()):
        raise ValueError("scores and new_scores must be finite to be re-ranked")
    if not topk.size:
        return scores
    if topk.min() < 0 or topk.max() >= scores.shape[1]:
        raise ValueError(f"topk_indices must lie in [0, {scores.shape[1]})")
    if (np.diff(np.sort(topk, axis=1), axis=1) == 0).any():
        raise ValueError("topk_indices names a candidate twice for one query")
    shift = new_scores.min(1, keepdims=True) - scores.max(1, keepdims=True) - 1.0
    final = scores + shift
    np.put_along_axis(final, topk, new_scores, axis=1)
    return final
