"""Checks of one picture's regions; the errors say what is wrong and what was expected."""

import numpy as np

from vlp_jax.data.boxes import PIXEL_SLACK, unit_boxes
from vlp_jax.data.regions.regions import PER_REGION, Regions

UNIT_SLACK = 0.01  # boxes as shares of the picture, kept as float16
_MOST_INT32 = 2**31 - 1
_SCORE_SLACK = 1e-2  # float16 probabilities
_SUM_SLACK = 0.02  # of the sum of some 1,600 float16 probabilities


def slack(regions: Regions) -> float:
    """Returns how far a box may reach outside the picture, in the unit of the boxes."""
    return UNIT_SLACK if regions.width == regions.height == 1 else PIXEL_SLACK


def check_regions(regions: Regions, dimension: int | None) -> None:
    """Raises ValueError for a wrong width, count, box or number."""
    _check_features(regions.features, dimension)
    for name in PER_REGION:
        value = getattr(regions, name)
        if value is not None and len(value) != len(regions):
            raise ValueError(f"there are {len(value)} {name} for {len(regions)} features")
    if not (1 <= regions.width < np.inf and 1 <= regions.height < np.inf):  # also refuses NaN
        raise ValueError(f"the picture is {regions.width} x {regions.height}, expected at least 1")
    unit_boxes(regions.boxes, regions.width, regions.height, slack(regions))
    for name in ("class_scores", "confidence", "attribute_confidence"):
        _check_probabilities(name, getattr(regions, name))
    _check_sizes(regions.box_sizes)
    for name in ("labels", "attributes"):
        value = getattr(regions, name)
        low, high = (0, 0) if value is None else (value.min(initial=0), value.max(initial=0))
        if low < 0 or high > _MOST_INT32:
            raise ValueError(f"{name} hold {low if low < 0 else high}, expected 0 to {_MOST_INT32}")


def check_distributions(scores: np.ndarray | None) -> None:
    """Raises ValueError for class scores [N, C] of a region that do not sum to 1."""
    if scores is None:
        return
    sums = scores.sum(axis=1, dtype=np.float64)
    wrong = np.flatnonzero(np.abs(sums - 1) > _SUM_SLACK)
    if len(wrong):
        raise ValueError(
            f"the class scores of region {wrong[0]} sum to {sums[wrong[0]]:.4g} ({len(wrong)} of "
            f"{len(sums)} regions are wrong), expected a distribution over all classes, background "
            "first: they are of several classes at once, or without the background"
        )


def _check_sizes(sizes: np.ndarray | None) -> None:
    if sizes is None:
        return
    low, high = sizes.min(initial=0), sizes.max(initial=0)
    if sizes.shape[1] != 2 or not (low >= 0 and high <= 1 + UNIT_SLACK):  # also refuses NaN
        raise ValueError(
            f"box sizes {list(sizes.shape)} reach from {low} to {high}, expected width and height "
            "as shares of the picture"
        )


def _check_features(features: np.ndarray, dimension: int | None) -> None:
    rows, width = features.shape
    if not rows:
        raise ValueError("there are no regions")
    if width != (dimension or width):
        raise ValueError(f"the features are {width} wide, expected {dimension}")
    finite = np.isfinite(features)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"feature {row} holds {features[row, column]} in column {column}; "
            f"{np.count_nonzero(~finite)} of {features.size} numbers are not finite"
        )


def _check_probabilities(name: str, values: np.ndarray | None) -> None:
    if values is None:
        return
    low, high = values.min(initial=0), values.max(initial=0)
    if not (low >= -_SCORE_SLACK and high <= 1 + _SCORE_SLACK):  # also refuses NaN
        raise ValueError(
            f"{name.replace('_', ' ')} reach from {low} to {high}, expected probabilities"
        )
