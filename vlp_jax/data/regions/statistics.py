"""Statistics of a file's features beside those of published files, so that wrong ones stand out."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from vlp_jax.config import Registry
from vlp_jax.data.regions.regions import Regions


class Statistics(NamedTuple):
    """Means over pictures.

    Attributes:
      zeros, negative: shares of the numbers that are exactly 0, and below it.
      mean: of the numbers. length: of a region's row.
      ordered: share of the pictures whose regions stand in descending order of confidence; NaN
        where there is none.
    """

    zeros: float
    negative: float
    mean: float
    length: float
    ordered: float


class FeatureSurvey:
    """Collects the statistics of pictures one by one."""

    def __init__(self):
        self._pictures: list[Statistics] = []

    def add(self, key: str, regions: Regions) -> bytes:
        """Takes a picture in; it gives `check` nothing to write."""
        self._pictures.append(measured(regions))
        return b""

    def statistics(self) -> Statistics:
        """Returns what the pictures have on average; NaN without any."""
        rows = self._pictures or [Statistics(*[np.nan] * len(Statistics._fields))]
        return Statistics(*np.mean(rows, axis=0).tolist())


def measured(regions: Regions) -> Statistics:
    """Returns the statistics of one picture."""
    numbers, sure = np.float32(regions.features), regions.confidence
    return Statistics(
        zeros=float(np.mean(numbers == 0)),
        negative=float(np.mean(numbers < 0)),
        mean=float(numbers.mean()),
        length=float(np.linalg.norm(numbers, axis=1).mean()),
        ordered=np.nan if sure is None else float(np.all(np.diff(sure) <= 0)),
    )


class Published(NamedTuple):
    """What a published file has: regions in a picture, and limits of the means over pictures."""

    regions: tuple[int, int]
    zeros: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, float] = (0.0, np.inf)
    length: tuple[float, float] = (0.0, np.inf)
    ordered: bool = False


PUBLISHED = Registry("published file of features")
"""By name. All are means of what a ReLU gives, so that nothing is below 0."""
PUBLISHED.update(
    {
        # Limits: the least and the most of single pictures, in ten of `train2014_obj36.tsv`.
        "bottom_up_36": Published((36, 36), (0.24, 0.40), (0.49, 0.84), (61.0, 86.0)),
        "bottom_up_adaptive": Published((10, 100)),
        "vinvl": Published((10, 100), ordered=True),
    }
)


def unlike(
    found: Statistics, regions: tuple[int, float, int], published: Published
) -> Iterator[str]:
    """Yields what distinguishes a file from a published one.

    `regions` are the least, mean and most of them in its pictures.
    """
    least, _, most = regions
    if least < published.regions[0] or most > published.regions[1]:
        low, high = published.regions
        yield f"pictures have {least} to {most} regions, published ones {low} to {high}"
    if found.negative > 0:
        yield f"{found.negative:.1%} of the numbers are below 0, of published ones none"
    for name, words in (
        ("zeros", "the share of zeros"),
        ("mean", "the mean of the numbers"),
        ("length", "the length of a row"),
    ):
        value, (low, high) = getattr(found, name), getattr(published, name)
        if not low <= value <= high:
            yield f"{words} is {value:.3g} on average, of published ones {low:g} to {high:g}"
    if published.ordered and found.ordered < 1:
        yield f"{1 - found.ordered:.1%} of the pictures are not in descending order of confidence"
