"""Phrase grounding (Flickr30k Entities): among the best regions of a phrase, is one right?"""

import numpy as np

from vlp_jax.metrics.checks import array_of_shape


def first_right(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns how many regions score above the best right one of each phrase, float [N].

    scores, right: [N, R]; infinity where no region is right. Of regions that score alike the first
    counts as the best; a region that is not there scores -inf and is not right.
    """
    scores = array_of_shape("scores", scores, ("phrases", "regions"))
    right = array_of_shape("right", right, scores.shape).astype(bool)
    ordered = np.take_along_axis(right, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return np.where(ordered.any(1), ordered.argmax(1), np.inf)


def recall_at(places: np.ndarray, k: int) -> float:
    """Returns the share of phrases with a right region among the `k` best; NaN for no phrases.

    places: what `first_right` gives. Source: Plummer et al. 2015, with `k` = 1, 5, 10.
    """
    return float((places < k).mean()) if len(places) else float("nan")


def drawn_recall(right: np.ndarray, regions: np.ndarray, k: int) -> float:
    """Returns what `recall_at` would be for `k` different regions drawn at random.

    right, regions: numbers [N] of right regions and of all regions of each phrase's picture.
    """
    left = np.asarray(regions, np.float64)[:, None] - np.arange(k)
    wrong = left - np.asarray(right, np.float64)[:, None]
    # Once all are drawn, another draw changes nothing.
    missed = np.where(left > 0, np.maximum(wrong, 0) / np.maximum(left, 1), 1.0)
    return float(1 - missed.prod(1).mean()) if len(missed) else float("nan")
