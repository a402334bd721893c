"""Which rows of a picture are regions to be used: the global one is not, nor are unsure ones."""

import numpy as np

from vlp_jax.data.regions.checks import slack
from vlp_jax.data.regions.regions import Regions, Rules

_MEAN_TOLERANCE = 0.02  # relative; covers features kept as float16


def choose_rows(regions: Regions, rules: Rules) -> Regions:
    """Returns the regions that the rules keep; ValueError if row 0 is not what they expect."""
    regions = _without_global(regions, rules.global_token)
    count = _count(regions.confidence, len(regions), rules)
    if count == len(regions):
        return regions
    if regions.confidence is None or rules.order == "file":
        return regions.rows(slice(count))
    return regions.rows(np.argsort(-regions.confidence, kind="stable")[:count])


def _without_global(regions: Regions, expected: str) -> Regions:
    whole, near_mean = _covers_picture(regions), False
    if whole:
        near_mean = _is_mean_of_others(regions.features)
    if expected == "first":
        if not (whole and near_mean):
            kind = "feature is not the mean of the others" if whole else "box is not the picture"
            raise ValueError(f'global_token = "first", but the first {kind}')
        return regions.rows(slice(1, None))
    if whole and near_mean:
        raise ValueError(
            "row 0 is a global region: its box is the whole picture and its feature the mean of "
            'the others; set global_token = "first" to leave it out'
        )
    return regions


def _covers_picture(regions: Regions) -> bool:
    picture = np.array([0, 0, regions.width, regions.height], np.float32)
    return bool((np.abs(regions.boxes[0] - picture) <= slack(regions)).all())


def _is_mean_of_others(features: np.ndarray) -> bool:
    if len(features) < 2:
        return False
    mean = features[1:].mean(axis=0)
    size = np.linalg.norm(mean)
    return bool(size > 0 and np.linalg.norm(features[0] - mean) <= _MEAN_TOLERANCE * size)


def _count(confidence: np.ndarray | None, available: int, rules: Rules) -> int:
    wanted = available
    if rules.min_confidence is not None:
        if confidence is None:
            raise ValueError("min_confidence is set, but the regions have no confidence")
        wanted = int((confidence > rules.min_confidence).sum())
    wanted = max(rules.min_boxes, wanted)
    return min(wanted, available, rules.max_boxes or available)
