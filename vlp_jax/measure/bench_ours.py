"""Our side of a benchmark: the trainer's own compiled step, and inference as `load` does it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from vlp_jax.measure.bench_turns import Program
from vlp_jax.measure.flops import matmul_flops, step_flops
from vlp_jax.model import Views
from vlp_jax.parallel import put_batch, use_mesh
from vlp_jax.training.experiment import Experiment
from vlp_jax.training.schedule import Group

HEADS = ("itm", "itc")
"""What inference asks for, the first that a model has: do they match, or else both vectors."""


@dataclass(frozen=True)
class Measured:
    """A compiled program of ours.

    Attributes:
      flops: that have to be computed, for the whole batch. recomputed: those beside them.
      memory_bytes: that the compiler plans on a device, arguments and results included.
    """

    program: Program
    flops: float
    recomputed: float
    memory_bytes: int
    compile_seconds: float


class Ours:
    """An experiment on its mesh, with a batch."""

    def __init__(self, experiment: Experiment):
        self.experiment = experiment
        source = experiment.config.data.sources[0]
        weights = experiment.schedule.groups[source]
        self.group: Group = max(weights, key=weights.get)
        self.batch = experiment.mixture[source].first
        with use_mesh(experiment.mesh):
            self._on_devices = put_batch(self.batch, experiment.mesh)
            self._state = experiment.states.create()

    @property
    def parameters(self) -> int:
        """How many there are."""
        return sum(x.size for x in jax.tree.leaves(self.experiment.states.shapes.params))

    @property
    def head(self) -> str:
        """The head that inference reads."""
        return next(name for name in HEADS if name in self.experiment.model.heads)

    def train(self) -> Measured:
        """Returns the train step of the heaviest group of tasks, compiled."""
        jitted = self._steps[self.group]
        compiled, seconds = self._compiled(jitted, self._state, self._on_devices)
        flops = step_flops(self.experiment, self.group, self.batch)

        def call() -> Any:
            self._state, metrics = compiled(self._state, self._on_devices)
            return metrics["loss"]

        memory = _planned_bytes(compiled)
        program = Program(call, jax.block_until_ready)
        return Measured(program, flops.model, flops.recomputed, memory, seconds)

    def infer(self) -> Measured:
        """Returns the forward pass of a batch, compiled."""
        model, head = self.experiment.model, self.head
        function = lambda params, batch: Views(model, params, batch).head(head)
        params = jax.tree.map(jnp.copy, self._state.params)  # those of the state are given away
        compiled, seconds = self._compiled(jax.jit(function), params, self._on_devices)
        flops = matmul_flops(function, params, self._on_devices)
        program = Program(lambda: compiled(params, self._on_devices), jax.block_until_ready)
        return Measured(program, flops, 0.0, _planned_bytes(compiled), seconds)

    @cached_property
    def _steps(self) -> dict[Group, Any]:
        return self.experiment.jitted_steps(jax.tree.map(lambda x: x.sharding, self._state))

    def _compiled(self, jitted: Any, *inputs: Any) -> tuple[jax.stages.Compiled, float]:
        start = time.perf_counter()
        with use_mesh(self.experiment.mesh):
            compiled = jitted.lower(*inputs).compile()
        return compiled, time.perf_counter() - start


def _planned_bytes(compiled: jax.stages.Compiled) -> int:
    plan = compiled.memory_analysis()
    arguments, results = plan.argument_size_in_bytes, plan.output_size_in_bytes
    return plan.temp_size_in_bytes + arguments + results - plan.alias_size_in_bytes


def measured(function: Callable[..., Any], *inputs: Any) -> Measured:
    """Returns `function(*inputs)` compiled for one device."""
    start = time.perf_counter()
    compiled = jax.jit(function).lower(*inputs).compile()
    seconds = time.perf_counter() - start
    program = Program(lambda: compiled(*inputs), jax.block_until_ready)
    flops = matmul_flops(function, *inputs)
    return Measured(program, flops, 0.0, _planned_bytes(compiled), seconds)
