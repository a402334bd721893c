"""Means of figures: one number for a run that is measured by several."""

import logging
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from vlp_jax.config import nearest

logger = logging.getLogger(__name__)


def check_means(
    means: Mapping[str, Sequence[str]], given: Sequence[frozenset[str] | None]
) -> frozenset[str]:
    """Returns the names of `config.evaluation.means`.

    given: the figures of each evaluation, None where that cannot be said. Raises ValueError for a
    figure that no evaluation gives and for a name that a figure has.
    """
    known = frozenset().union(*(figures or () for figures in given))
    for name, figures in means.items():
        path = f"config.evaluation.means.{name}"
        if name in known:
            raise ValueError(f"{path}: an evaluation gives a figure of this name: choose another")
        for figure in () if None in given else figures:
            if figure not in known:
                raise ValueError(
                    f'{path}: no evaluation gives the figure "{figure}".{nearest(figure, known)} '
                    f"Known: {', '.join(sorted(known)) or 'none'}"
                )
    return frozenset(means)


def means_of(means: Mapping[str, Sequence[str]], figures: Mapping[str, Any]) -> dict[str, float]:
    """Returns each mean by its name; one that lacks a number is left out with a warning."""
    found = {}
    for name, parts in means.items():
        lacking = [part for part in parts if not isinstance(figures.get(part), Real)]
        if lacking:
            logger.warning("mean %s is left out: no number for %s", name, ", ".join(lacking))
        else:
            found[name] = float(np.mean([figures[part] for part in parts]))
    return found
