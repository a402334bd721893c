"""What an objective is, and the small pieces that several objectives share."""

from collections.abc import Mapping
from dataclasses import field
from typing import Protocol

import flax
from jaxtyping import Array

from vlp_jax.losses.momentum import Queue
from vlp_jax.objectives.views import Views


@flax.struct.dataclass
class Result:
    """What an objective returns: a scalar loss, scalar metrics, and features for the queues."""

    loss: Array
    metrics: Mapping[str, Array] = field(default_factory=dict)
    enqueue: Mapping[str, Array] = field(default_factory=dict)


class Objective(Protocol):
    """A frozen dataclass of settings, called with the views of one batch.

    Class attributes: `reads`, the batch fields it needs besides those of the vision encoder;
    `heads`, the heads that the model must have; `metrics`, the names of the metrics it gives
    beside its loss. Every objective has a `weight`. Hidden regions are shown to a step none of
    whose objectives reads `region_hidden` or has `keeps_regions_hidden` = True.
    """

    weight: float
    reads: frozenset[str]
    heads: tuple[str, ...]
    metrics: tuple[str, ...]

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        """Computes the loss; `ramp` in [0, 1] scales every distillation weight."""
