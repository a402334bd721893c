"""Masked accuracy, confusion, consistency and pairwise accuracy for tasks with a fixed answer."""

import numpy as np

from vlp_jax.metrics.checks import array_of_shape, bool_mask, no_nan, same_length


def _correct(
    logits: np.ndarray, labels: np.ndarray, mask: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns flat predicted classes and labels of the examples under the mask, and class ids."""
    logits = no_nan("logits", np.asarray(logits))
    if logits.ndim < 2:
        raise ValueError(f"logits has shape {list(logits.shape)}, expected [..., classes]")
    labels = array_of_shape("labels", labels, logits.shape[:-1])
    mask = bool_mask("mask", mask, labels.shape)
    kept, classes = labels[mask], logits.shape[-1]
    if kept.size and (kept.min() < 0 or kept.max() >= classes):
        raise ValueError(
            f"labels under the mask span {kept.min()}..{kept.max()}, expected 0..{classes - 1}"
        )
    return logits.argmax(-1)[mask], kept, np.arange(classes)


def accuracy(logits: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Returns the share of examples whose largest logit is at the label; NaN when none is counted.

    Args:
        logits: [..., classes]; labels: int [...]; mask: bool [...], False leaves an example out
            (padding; for masked language modelling `labels != IGNORE`).
    """
    predicted, labels, _ = _correct(logits, labels, mask)
    return float((predicted == labels).mean()) if labels.size else float("nan")


def confusion(logits: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Returns int [classes, classes]: how often label (row) was predicted as class (column)."""
    predicted, labels, classes = _correct(logits, labels, mask)
    table = np.zeros((classes.size, classes.size), np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def macro_accuracy(logits: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Returns the mean over occurring classes of the accuracy on that class; NaN without any."""
    table = confusion(logits, labels, mask)
    occurring = table.sum(1) > 0
    if not occurring.any():
        return float("nan")
    return float((table.diagonal()[occurring] / table.sum(1)[occurring]).mean())


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
