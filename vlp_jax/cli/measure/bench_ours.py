"""Our side of a benchmark: the trainer's own compiled step, and inference as `load` does it."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from vlp_jax.cli.measure.bench_turns import Measured, Program
from vlp_jax.model import Views
from vlp_jax.parallel import put_batch, use_mesh
from vlp_jax.training.experiment import Experiment
from vlp_jax.training.flops import matmul_flops, step_flops
from vlp_jax.training.schedule import Group

HEADS = ("itm", "itc")
"""What inference asks for, the first that a model has: do they match, or else both vectors."""

TRUNK = "encoders and fusion"
"""What inference is of a model that has neither."""


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
    def asked(self) -> str:
        """What inference asks for: a head, or `TRUNK`."""
        return next((name for name in HEADS if name in self.experiment.model.heads), TRUNK)

    def train(self) -> Measured:
        """Returns the train step of the heaviest group of tasks, compiled."""
        shardings = jax.tree.map(lambda x: x.sharding, self._state)
        jitted = self.experiment.jitted_steps(shardings)[self.group]
        with use_mesh(self.experiment.mesh):
            compiled, seconds = _compiled(jitted, self._state, self._on_devices)
        flops = step_flops(self.experiment, self.group, self.batch)

        def call() -> Any:
            self._state, metrics = compiled(self._state, self._on_devices)
            return metrics["loss"]

        memory, program = _planned_bytes(compiled), Program(call, jax.block_until_ready)
        known = memory, self.parameters, flops.recomputed, seconds
        return Measured(program, flops.model, *known)

    def infer(self) -> Measured:
        """Returns the forward pass of a batch, compiled."""
        model, asked = self.experiment.model, self.asked
        function = lambda params, batch: Views(model, params, batch).head(asked)
        if asked == TRUNK:
            function = lambda params, batch: model.apply(
                {"params": params}, batch, method=model.encode
            )
        params = jax.tree.map(jnp.copy, self._state.params)  # those of the state are given away
        with use_mesh(self.experiment.mesh):
            found = measured(function, params, self._on_devices)
        return replace(found, parameters=self.parameters)


def measured(function: Callable[..., Any], *inputs: Any) -> Measured:
    """Returns `function(*inputs)`, compiled."""
    compiled, seconds = _compiled(jax.jit(function), *inputs)
    program = Program(lambda: compiled(*inputs), jax.block_until_ready)
    flops, memory = matmul_flops(function, *inputs), _planned_bytes(compiled)
    return Measured(program, flops, memory, compile_seconds=seconds)


def _planned_bytes(compiled: jax.stages.Compiled) -> int:
    plan = compiled.memory_analysis()
    arguments, results = plan.argument_size_in_bytes, plan.output_size_in_bytes
    return plan.temp_size_in_bytes + arguments + results - plan.alias_size_in_bytes


def _compiled(jitted: Any, *inputs: Any) -> tuple[jax.stages.Compiled, float]:
    start = time.perf_counter()
    compiled = jitted.lower(*inputs).compile()
    return compiled, time.perf_counter() - start
