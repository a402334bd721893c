"""Consistency over groups of examples, and accuracy over pairs of a truth and a foil."""

import numpy as np

from vlp_jax.metrics.checks import array_of_shape, bool_mask, no_nan, same_length


def consistency(correct: np.ndarray, groups: np.ndarray) -> float:
    """Returns the share of groups answered without any error.

    `correct` is bool [N], `groups` [N] any labels; NLVR2 groups by sentence (Suhr et al. 2019,
    section 4, "consistency").
    """
    correct = bool_mask("correct", correct, np.shape(groups))
    if not correct.size:
        return float("nan")
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    errors = np.bincount(index, weights=~correct)
    return float((errors == 0).mean())


def pairwise_accuracy(true_scores: np.ndarray, foil_scores: np.ndarray) -> float:
    """Returns the share of pairs in which the truth scores above its foil; a tie counts one half.

    Both are [N]; chance is 0.5. NaN when there is no pair.
    """
    same_length(true_scores=true_scores, foil_scores=foil_scores)
    true = no_nan("true_scores", array_of_shape("true_scores", true_scores, ("pairs",)))
    foil = no_nan("foil_scores", array_of_shape("foil_scores", foil_scores, ("pairs",)))
    return float(((true > foil) + 0.5 * (true == foil)).mean()) if true.size else float("nan")
