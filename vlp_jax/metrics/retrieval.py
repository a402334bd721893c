"""Image-text retrieval: ranks, recall at k, median rank, chance values and re-ranking.

A text is relevant to an image, and the image to the text, if they carry the same id, so that an
image may have several texts. Scores are read a block of queries at a time: no temporary array is
as large as a matrix of 5,000 images and 25,000 texts.

Ties: our own figures take them in expectation: candidates with equal scores count as if drawn in
random order, and the exact expected value over all orders is returned. A model that gives every
candidate the same score therefore reaches chance, neither 0 nor 1. The published codes leave ties
to the sorting routine; `published_recalls` gives both ends of what they may print.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vlp_jax.metrics.checks import array_of_shape, no_nan
from vlp_jax.metrics.figures import twin

KS = (1, 5, 10)
_ROWS_AT_ONCE = 256  # bounds the temporary arrays: 10 MB for a gallery of 5,000 images
_UNSCORED = -100.0  # stands for candidates that were not re-ranked (ALBEF)


class Ranks(NamedTuple):
    """How the best-scored relevant candidate of every query stands, int [queries] each.

    Attributes:
        higher: candidates that score above it: its rank from 0, were it first among equals.
        tied: candidates that score like it, itself included.
        tied_relevant: the relevant ones among `tied`.
        relevant: relevant candidates in all.
    """

    higher: np.ndarray
    tied: np.ndarray
    tied_relevant: np.ndarray
    relevant: np.ndarray

    @property
    def last(self) -> np.ndarray:
        """Its rank from 0, were all the others among its equals before it."""
        return self.higher + self.tied - self.tied_relevant


def relevant_ranks(scores: np.ndarray, query_ids: Sequence, candidate_ids: Sequence) -> Ranks:
    """Returns how the best relevant candidate of each query ranks.

    Args:
        scores: [queries, candidates], higher is better.
        query_ids: [queries]; candidate_ids: [candidates]: equal ids are relevant to each other.

    Raises:
        ValueError: shapes disagree, a score is NaN, or a query has no relevant candidate.
    """
    scores = array_of_shape("scores", scores, ("queries", "candidates"))
    queries = array_of_shape("query_ids", query_ids, scores.shape[:1])
    candidates = array_of_shape("candidate_ids", candidate_ids, scores.shape[1:])
    lonely = np.flatnonzero(~np.isin(queries, candidates))
    if lonely.size or not len(scores):
        which = f"query {lonely[0]} has no relevant candidate" if lonely.size else "no queries"
        raise ValueError(f"{which} ({lonely.size} of {len(scores)} queries)")
    blocks = (slice(i, i + _ROWS_AT_ONCE) for i in range(0, len(scores), _ROWS_AT_ONCE))
    parts = [_ranks(scores[rows], queries[rows, None] == candidates) for rows in blocks]
    return Ranks(*map(np.concatenate, zip(*parts)))


def _ranks(scores: np.ndarray, relevant: np.ndarray) -> Ranks:
    scores = no_nan("scores", np.ascontiguousarray(scores))
    least = -np.inf if np.issubdtype(scores.dtype, np.floating) else np.iinfo(scores.dtype).min
    best = np.max(scores, axis=1, keepdims=True, where=relevant, initial=least)
    tied = scores == best
    counted = (scores > best, tied, tied & relevant, relevant)
    return Ranks(*(np.count_nonzero(column, axis=1) for column in counted))


def _hit_probability(total: np.ndarray, positives: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """P(at least one positive among `draws` of `total` candidates drawn without replacement)."""
    total, positives, draws = np.broadcast_arrays(total, positives, draws)
    miss = np.ones(total.shape)
    for i in range(int(draws.max(initial=0))):
        step = np.maximum(total - positives - i, 0) / np.maximum(total - i, 1)
        miss = np.where(i < draws, miss * step, miss)
    return 1.0 - miss


def recall_at_k(ranks: Ranks, ks: Sequence[int] = KS) -> dict[int, float]:
    """Returns the share of queries with a relevant candidate among the k best, for each k.

    Any relevant one is a hit (COCO: five captions per image); ties count in expectation.
    """
    if any(k < 1 for k in ks):
        raise ValueError(f"ks is {tuple(ks)}, expected cut-offs of at least 1")
    return {k: float(hits_at_k(ranks, k).mean()) for k in ks}


def hits_at_k(ranks: Ranks, k: int) -> np.ndarray:
    """Returns, for each query, whether a relevant candidate is among the k best (in 0..1: ties)."""
    draws = np.clip(k - ranks.higher, 0, ranks.tied)
    return _hit_probability(ranks.tied, ranks.tied_relevant, draws)


def median_rank(ranks: Ranks) -> float:
    """Returns the median over queries of the best relevant candidate's rank, 1 being first.

    Among tied candidates the expected rank of the first relevant one is taken.
    """
    return float(np.median(ranks.higher + (ranks.tied + 1) / (ranks.tied_relevant + 1)))


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


def retrieval_report(
    sims: np.ndarray,
    image_ids: Sequence,
    text_image_ids: Sequence,
    *,
    text_scores: np.ndarray | None = None,
    suffix: str = "",
    ks: Sequence[int] = KS,
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
    ranks = _both_ways(sims, text_scores, image_ids, text_image_ids)
    return rank_report(ranks, *np.shape(sims), suffix, ks)


def rank_report(
    ranks: tuple[Ranks, Ranks], images: int, texts: int, suffix: str = "", ks: Sequence[int] = KS
) -> dict[str, float]:
    """Returns the figures of `retrieval_report` for ranks of image→text and text→image."""
    by_image, by_text = ranks
    return _one_direction("i2t", by_image, texts, ks, suffix) | _one_direction(
        "t2i", by_text, images, ks, suffix
    )


def _both_ways(
    sims: np.ndarray,
    text_scores: np.ndarray | None,
    image_ids: Sequence,
    text_image_ids: Sequence,
) -> tuple[Ranks, Ranks]:
    """Returns the ranks of image→text and of text→image."""
    sims = array_of_shape("sims", sims, ("images", "texts"))
    image_ids = array_of_shape("image_ids", image_ids, sims.shape[:1])
    text_image_ids = array_of_shape("text_image_ids", text_image_ids, sims.shape[1:])
    by_text = sims.T if text_scores is None else text_scores
    by_text = array_of_shape("text_scores", by_text, sims.shape[::-1])
    return (
        relevant_ranks(sims, image_ids, text_image_ids),
        relevant_ranks(by_text, text_image_ids, image_ids),
    )


def _one_direction(
    direction: str, ranks: Ranks, candidates: int, ks: Sequence[int], suffix: str
) -> dict[str, float]:
    figures = {}
    for k, recall in recall_at_k(ranks, ks).items():
        name = f"{direction}_r{k}{suffix}"
        figures[name] = recall
        figures[twin(name, "chance")] = chance_recall(candidates, ranks.relevant, k)
    name = f"{direction}_median_rank{suffix}"
    figures[name] = median_rank(ranks)
    figures[twin(name, "chance")] = float(np.median((candidates + 1) / (ranks.relevant + 1)))
    return figures


def published_recalls(
    sims: np.ndarray,
    image_ids: Sequence,
    text_image_ids: Sequence,
    *,
    text_scores: np.ndarray | None = None,
    ties_won: bool = False,
) -> dict[str, float]:
    """Returns the table of ALBEF's evaluation, in percent (salesforce/ALBEF, Retrieval.py).

    `txt_r1`, `txt_r5`, `txt_r10` find texts for images: the best rank of any text of the image;
    `img_r*` find images for texts; `*_r_mean` are means of three, `r_mean` of the two. As fractions
    they are CLIP_benchmark's recalls. ALBEF leaves equal scores to the sorting routine: here a
    relevant candidate stands behind all its equals, or before them with `ties_won`.
    Arguments as in `retrieval_report`.
    """
    figures = {}
    for name, ranks in zip(
        ("txt", "img"), _both_ways(sims, text_scores, image_ids, text_image_ids)
    ):
        rank = ranks.higher if ties_won else ranks.last
        figures |= {f"{name}_r{k}": 100.0 * float((rank < k).mean()) for k in KS}
    return _with_means(figures)


def uniter_recalls(
    sims: np.ndarray, image_ids: Sequence, text_image_ids: Sequence, *, ties_won: bool = False
) -> dict[str, float]:
    """Returns the table of UNITER's evaluation, as fractions, with its error (utils/itm_eval.py).

    Named as in `published_recalls`. The published code compares row numbers with k as well as
    ranks: in `img_r*` each of the first k texts whose image is among the ten best counts once more,
    which adds up to k / texts. It also keeps scores in float16, which makes ties. For comparison
    with published figures of UNITER only.
    Raises ValueError below ten images or texts, as the published code fails there.
    """
    if min(np.shape(sims)) < max(KS):
        raise ValueError(f"sims has shape {list(np.shape(sims))}, expected at least 10 each way")
    sims = np.asarray(sims).astype(np.float16)
    by_image, by_text = _both_ways(sims, None, image_ids, text_image_ids)
    texts, images = (ranks.higher if ties_won else ranks.last for ranks in (by_image, by_text))
    listed = images < max(KS)
    figures = {f"txt_r{k}": float((texts < k).mean()) for k in KS}
    for k in KS:
        figures[f"img_r{k}"] = float(((images < k).sum() + listed[:k].sum()) / len(images))
    return _with_means(figures)


def _with_means(figures: Mapping[str, float]) -> dict[str, float]:
    means = {
        f"{name}_r_mean": sum(figures[f"{name}_r{k}"] for k in KS) / len(KS)
        for name in ("txt", "img")
    }
    return {**figures, **means, "r_mean": sum(means.values()) / 2}


def rerank(scores: np.ndarray, topk_indices: np.ndarray, new_scores: np.ndarray) -> np.ndarray:
    """Returns scores in which the re-scored candidates of each query stand above all others.

    The re-scored candidates carry their new score alone; the others are moved, in their old order,
    below the lowest new score of the same query. Recalls up to k are those of ALBEF's evaluation,
    in which the ITM score decides among the k candidates best by ITC and the others are tied.

    Args:
        scores: [queries, candidates]; topk_indices: int [queries, k], distinct in each row;
        new_scores: [queries, k]. All finite.

    Returns: float64 [queries, candidates], finite.
    """
    scores = array_of_shape("scores", scores, ("queries", "candidates")).astype(np.float64)
    topk, new_scores = _checked_candidates(scores.shape, topk_indices, new_scores)
    if not (np.isfinite(scores).all() and np.isfinite(new_scores).all()):
        raise ValueError("scores and new_scores must be finite to be re-ranked")
    if not topk.size:
        return scores
    scores += new_scores.min(1, keepdims=True) - scores.max(1, keepdims=True) - 1.0
    np.put_along_axis(scores, topk, new_scores, axis=1)
    return scores


def published_rerank(
    shape: tuple[int, int], topk_indices: np.ndarray, new_scores: np.ndarray
) -> np.ndarray:
    """Returns the score matrix of ALBEF's re-ranking: the k candidates' new scores, else -100.

    `shape` is (queries, candidates); `topk_indices` and `new_scores` [queries, k] as in `rerank`.
    Recalls beyond k hang on ties. Returns float32 [queries, candidates].
    """
    topk, new_scores = _checked_candidates(shape, topk_indices, new_scores)
    scores = np.full(shape, _UNSCORED, np.float32)
    np.put_along_axis(scores, topk, new_scores.astype(np.float32), axis=1)
    return scores


def _checked_candidates(
    shape: tuple[int, int], topk_indices: np.ndarray, new_scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    topk = array_of_shape("topk_indices", topk_indices, (shape[0], "k"))
    new_scores = array_of_shape("new_scores", new_scores, topk.shape).astype(np.float64)
    if topk.size and (topk.min() < 0 or topk.max() >= shape[1]):
        raise ValueError(f"topk_indices must lie in [0, {shape[1]})")
    if (np.diff(np.sort(topk, axis=1), axis=1) == 0).any():
        raise ValueError("topk_indices names a candidate twice for one query")
    return topk, new_scores
