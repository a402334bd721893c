"""How far a mean over a test set may be from that over all such cases."""

from collections.abc import Sequence

import numpy as np

_DRAWS, _AT_ONCE = 1000, 50
_SEED = 0  # the same figures have the same interval


def bootstrap_interval(
    values: Sequence[float], owners: Sequence | None = None, level: float = 0.95
) -> tuple[float, float] | None:
    """Returns the percentile interval of the mean of `values` [N] (Efron 1979); None for no value.

    With `owners` [N], such as the image of each question, whole groups of one owner are drawn,
    since cases of one picture are right or wrong together.
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        return None
    owners = np.arange(len(values)) if owners is None else owners
    _, group = np.unique(owners, return_inverse=True)
    sums, counts = np.bincount(group, values), np.bincount(group)
    rng, even = np.random.Generator(np.random.PCG64(_SEED)), np.full(len(sums), 1 / len(sums))
    means = []
    for _ in range(_DRAWS // _AT_ONCE):
        drawn = rng.multinomial(len(sums), even, size=_AT_ONCE)
        means.append(drawn @ sums / (drawn @ counts))
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
