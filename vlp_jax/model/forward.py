"""A model with fixed parameters: functions of views, compiled once a shape."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vlp_jax.model.model import VisionLanguageModel
from vlp_jax.model.views import Views
from vlp_jax.parallel.context import unconstrained


class Forward:
    """Computes functions of `Views` without dropout, for evaluation and inference."""

    def __init__(self, model: VisionLanguageModel, params: Any):
        self.model = model
        self.params = params
        self._compiled: dict[Any, Callable] = {}

    def of_task(self, row: int | None) -> "Forward":
        """Returns the same of the model that reads texts as those of a task (12-in-1)."""
        return self if row is None else Forward(self.model.with_task(row), self.params)

    def __call__(
        self,
        function: Callable[[Views], Any],
        batch: Mapping[str, Any],
        made: Mapping[str, Any] | None = None,
    ) -> Any:
        """Returns `function(views)` of a batch; `made` are passes that are there already.

        Arrays of the host may be given. A function and a shape are compiled once; a
        `functools.partial` counts as the same one with equal arguments.
        """
        arrays = {name: jnp.asarray(value) for name, value in batch.items()}
        with unconstrained():
            return self._jitted(function)(self.params, arrays, dict(made or {}))

    def _jitted(self, function: Callable) -> Callable:
        key = _identity(function)
        if key not in self._compiled:
            self._compiled[key] = jax.jit(
                lambda params, batch, made: function(Views(self.model, params, batch, made=made))
            )
        return self._compiled[key]


def _identity(function: Callable) -> Any:
    if isinstance(function, partial):
        return function.func, function.args, tuple(sorted(function.keywords.items()))
    return function
