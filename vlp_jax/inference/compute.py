"""Computes functions of views on any number of rows, in a few padded shapes."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vlp_jax.model import Forward, VisionLanguageModel

SIZES = (1, 8, 16, 32)
"""Rows computed at once: the least that holds all, or the most."""


class Compute:
    """A model with its parameters; functions are compiled once for each shape and task."""

    def __init__(self, model: VisionLanguageModel, params: Any):
        self._model = model
        self._params = params
        self._forwards: dict[int | None, Forward] = {}

    def __call__(
        self, function: Callable, batch: dict[str, np.ndarray], task: int | None = None
    ) -> Any:
        """Returns a function of views of all rows, a tree of arrays [N, ...].

        task: the row of the text encoder's table of tasks (ViLBERT 12-in-1).
        """
        count = len(next(iter(batch.values())))
        size = next((size for size in SIZES if size >= count), SIZES[-1])
        parts = []
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            part = {name: value[rows] for name, value in batch.items()}
            parts.append(jax.tree.map(np.asarray, self.forward(task)(function, part)))
        return jax.tree.map(lambda *x: np.concatenate(x)[:count], *parts)

    def forward(self, task: int | None = None) -> Forward:
        """Returns the model as it reads texts of a task."""
        if task not in self._forwards:
            self._forwards[task] = Forward(self._model.with_task(task), self._params)
        return self._forwards[task]
