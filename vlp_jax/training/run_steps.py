"""The compiled steps of a run, and which of them a step number calls for."""

import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vlp_jax.parallel.peaks import peak_flops
from vlp_jax.training.clock import Clock
from vlp_jax.training.experiment import Experiment
from vlp_jax.training.flops import step_flops
from vlp_jax.training.state import TrainState

Batch = Mapping[str, jax.Array]


class RunSteps:
    """All steps of an experiment, compiled before the first one: none is compiled later.

    Attributes:
      given: how many steps of each source and group the devices were given.
    """

    def __init__(self, experiment: Experiment, state: TrainState):
        self._experiment = experiment
        self._steps = experiment.compiled_steps(state)
        self._copy = _copies.lower((state.meters, state.bad_steps)).compile()
        self.given = Counter()

    def give(
        self, step: int, state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, jax.Array], float]:
        """Gives the devices step `step`, counted from 0: (state, metrics, when they got it).

        Raises ValueError if the batch has other fields, shapes or types than the first one had.
        """
        source = self._experiment.mixture.choice(step)
        pair = source, self._experiment.schedule.group(step, source)
        when = time.perf_counter()
        try:
            state, metrics = self._steps[pair](state, batch)
        except TypeError as error:
            changes = _changes(self._steps[pair].in_avals[0][1], batch)
            raise ValueError(
                f"the batch of step {step + 1} from source {source} is none that its step was "
                f"compiled for: {'; '.join(changes) or error}"
            ) from error
        self.given[pair] += 1
        return state, metrics, when

    def speed(self, clock: Clock) -> dict[str, float]:
        """Returns what a chip has done in a second of steps, waits for data included.

        Where the chip's peak is known, that is also the share of it in operations that the losses
        and their gradients need (`training.flops`): the MFU. They are counted now, by a trace.
        """
        chip_seconds = jax.device_count() * (clock.seconds("step") + clock.seconds("data"))
        sizes = self._experiment.batch_size
        examples = sum(count * sizes(source) for (source, _), count in self.given.items())
        figures = {"examples_per_second_per_chip": examples / chip_seconds}
        if peak := peak_flops(jax.devices()[0]):
            figures["mfu"] = self._flops() / chip_seconds / peak
        return figures

    def _flops(self) -> float:
        made = self._experiment
        return sum(
            count * step_flops(made, group, made.abstract_batch(source)).model
            for (source, group), count in self.given.items()
        )

    def averages(self, state: TrainState) -> Any:
        """Returns copies of the meters and the bad steps, which the next step overwrites."""
        return self._copy((state.meters, state.bad_steps))


_copies = jax.jit(partial(jax.tree.map, jnp.copy))


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names the fields that are not as they were."""
    text = lambda x: "nothing" if x is None else f"{x.dtype}{list(x.shape)}"
    fields = {name: (text(before.get(name)), text(now.get(name))) for name in {**before, **now}}
    return [f"{name} is {new}, not {old}" for name, (old, new) in fields.items() if old != new]
