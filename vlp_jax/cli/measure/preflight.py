"""Decides a run before it is paid for: compiles its steps for devices that need not be there."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from vlp_jax.cli.measure.assumed import StandIn, assumed_vocabulary, needs_vocabulary
from vlp_jax.cli.measure.hlo import read_program
from vlp_jax.cli.measure.hlo_collectives import Traffic, traffic
from vlp_jax.cli.measure.hlo_products import product_flops
from vlp_jax.cli.measure.memory import (
    device_bytes,
    does_not_fit,
    out_of_memory,
    replicated_bytes,
    state_parts,
)
from vlp_jax.cli.measure.run_checks import (
    Check,
    check_evaluations_run,
    check_initial_weights,
    check_tasks,
    check_workdir,
    open_or_assume,
    warnings_kept,
)
from vlp_jax.cli.measure.unmeasured import unmeasured
from vlp_jax.config import ExperimentConfig
from vlp_jax.config.plugins import load_plugins
from vlp_jax.data.sources.base import Source
from vlp_jax.layers.platform import for_any_platform, tracing_for
from vlp_jax.parallel import use_mesh
from vlp_jax.parallel.gpu_topology import Gpu
from vlp_jax.parallel.mesh import describe_mesh
from vlp_jax.parallel.topology import Slices
from vlp_jax.training.experiment import Experiment, assemble
from vlp_jax.training.flops import step_flops
from vlp_jax.training.schedule import Group

# Code that nobody runs need not be good. TPUs' compiler is eight times as fast so, and what it
# places is a little more (of ALBEF's step 7 %).
_QUICK_FOR_TPUS = {"exec_time_optimization_effort": -1.0}
_QUICK_FOR_CPUS = {"xla_backend_optimization_level": 0}
# On a GPU XLA measures whether a product is faster by cuBLAS or by a kernel of its own.
_UNMEASURED_ON_GPUS = {"xla_gpu_enable_triton_gemm": False}


@dataclass(frozen=True)
class StepProgram:
    """One compiled step.

    Attributes:
      tasks, sources: what it trains, on which data. share: of all steps. compile_seconds: how long
        the compiler took. refused: why it did not compile, as a sentence; then the rest is missing.
      parts: bytes of a device by kind, of state and batch. working: of activations and
        temporaries. peak: most of all at any time, by the compiler. flops: of a device's products.
      model_flops: a device's share of what loss and gradient need, by the traced program; the rest
        of `flops` is computed again, or the optimizer's.
    """

    tasks: Group
    sources: tuple[str, ...]
    share: float
    parts: dict[str, int]
    compile_seconds: float
    refused: str | None = None
    working: int = 0
    peak: int = 0
    flops: int = 0
    model_flops: float = 0.0
    traffic: tuple[Traffic, ...] = ()

    @property
    def flops_ratio(self) -> float | None:
        """Products that are computed for each one that is needed; None where one is missing."""
        return self.flops / self.model_flops if self.flops and self.model_flops else None


@dataclass(frozen=True)
class Preflight:
    """What is known of a run before it starts.

    Attributes:
      devices, mesh: what it was compiled for. device_flops, device_bytes: peak and memory of one
        device, 0 where they are not known. replicated: bytes of the state that every device has.
    """

    devices: str
    device_count: int
    mesh: str
    device_flops: float
    device_bytes: int
    batch_size: float
    steps: int
    replicated: int
    checks: tuple[Check, ...]
    programs: tuple[StepProgram, ...]

    @property
    def fits(self) -> bool:
        """Whether the compiler took all steps."""
        return all(program.refused is None for program in self.programs)

    @property
    def ready(self) -> bool:
        """Whether nothing stands against the start."""
        return self.fits and all(check.verdict != "wrong" for check in self.checks)

    def seconds_a_step(self, utilisation: float) -> float | None:
        """Returns the mean time of a step at a share of the peak; None where that is not known."""
        if not (self.device_flops and self.fits):
            return None
        flops = sum(program.share * program.flops for program in self.programs)
        return flops / (self.device_flops * utilisation)


@dataclass(frozen=True)
class Plan:
    """An experiment put together, what it reads or would read, and what was found of that."""

    experiment: Experiment
    sources: Mapping[str, Source]
    checks: tuple[Check, ...]

    @property
    def assumes(self) -> bool:
        """Whether anything was made up."""
        return any(check.verdict == "assumed" for check in self.checks)


def make_plan(config: ExperimentConfig, devices: Sequence[Any]) -> Plan:
    """Returns the experiment on such devices.

    Raises ValueError for a config that does not fit its own data, tasks or mesh.
    """
    load_plugins(config.plugins)
    sources, checks = open_or_assume(config)
    absent = [source for source in sources.values() if isinstance(source, StandIn)]
    vocabulary = None
    if needs_vocabulary(config.data, bool(absent)):
        vocabulary = assumed_vocabulary(config.model, sources.values())
        said = f'{vocabulary.tokenizer.size:,} word pieces for "{config.data.vocabulary}"'
        checks.append(Check("vocabulary", "assumed", said))
    with warnings_kept():  # `check_tasks` says it better
        # Evaluations are looked at by themselves: where one cannot run, the step still compiles.
        experiment = assemble(unmeasured(config), vocabulary, sources, devices)
    return Plan(experiment, sources, tuple(checks))


def preflight(config: ExperimentConfig, where: Slices, workdir: Path | None = None) -> Preflight:
    """Returns what can be said of a run on such devices: its checks, its compiled steps.

    Raises ValueError for a config that does not fit its own data, tasks or mesh.
    """
    plan = make_plan(config, where.devices)
    experiment, chip = plan.experiment, where.chip
    return Preflight(
        devices=where.name,
        device_count=len(where.devices),
        mesh=describe_mesh(experiment.mesh),
        device_flops=chip.flops / chip.cores if chip else 0.0,
        device_bytes=chip.device_bytes if chip else 0,
        batch_size=config.data.mean_batch_size(config.training.steps),
        steps=config.training.steps,
        replicated=replicated_bytes(experiment.states.abstract),
        checks=(*plan.checks, *_checks(config, plan, workdir)),
        programs=tuple(compiled_steps(experiment, where)),
    )


def _checks(config: ExperimentConfig, plan: Plan, workdir: Path | None) -> Iterator[Check]:
    experiment = plan.experiment
    yield from check_tasks(config, experiment)
    yield from check_evaluations_run(config, experiment, plan.sources)
    yield from check_initial_weights(experiment, not plan.assumes)
    if workdir is not None:
        leaves = jax.tree.leaves(experiment.states.shapes)
        size = sum(x.size * x.dtype.itemsize for x in leaves)
        yield check_workdir(workdir, size, config.training.keep_checkpoints)


def compiled_steps(experiment: Experiment, where: Slices) -> Iterator[StepProgram]:
    """Compiles each different step of a run, one after the other."""
    with use_mesh(experiment.mesh), _tracing(where):
        lowered = experiment.lowered_steps(experiment.states.abstract)
    shares = _shares(experiment)
    for program in dict.fromkeys(lowered.values()):
        pairs = [pair for pair, other in lowered.items() if other is program]
        source, group = pairs[0]
        with use_mesh(experiment.mesh):
            needed = step_flops(experiment, group, experiment.abstract_batch(source)).model
        yield StepProgram(
            tasks=group,
            sources=tuple(source for source, _ in pairs),
            share=sum(shares[pair] for pair in pairs),
            model_flops=needed / len(where.devices),
            **_compiled(program, _state_and_batch(experiment, source), where),
        )


def _tracing(where: Slices) -> contextlib.AbstractContextManager[None]:
    """What is traced for other devices must not take this computer's processor into account."""
    if isinstance(where.chip, Gpu):
        return tracing_for("gpu")
    return for_any_platform() if where.chip else contextlib.nullcontext()


def _state_and_batch(experiment: Experiment, source: str) -> dict[str, int]:
    parts = state_parts(experiment.states.abstract)
    batch = experiment.abstract_batch(source)
    return parts | {"batch": sum(map(device_bytes, batch.values()))}


def _shares(experiment: Experiment) -> dict[tuple[str, Group], float]:
    """Returns of how many of all steps each pair of source and tasks is."""
    config, groups = experiment.config, experiment.schedule.groups
    return {
        (name, group): share * one / sum(groups[name].values())
        for name, share in config.data.shares(config.training.steps).items()
        for group, one in groups[name].items()
    }


def _compiled(program: jax.stages.Lowered, parts: dict[str, int], where: Slices) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        compiled = _placed(program, where)
    except jax.errors.JaxRuntimeError as error:
        refused = out_of_memory(str(error))
        if refused is None:
            raise
        return {"parts": parts, "compile_seconds": time.perf_counter() - start, "refused": refused}
    seconds, placed = time.perf_counter() - start, compiled.memory_analysis()
    if where.chip and placed.peak_memory_in_bytes > where.chip.device_bytes:
        refused = does_not_fit(placed.peak_memory_in_bytes, where.chip.device_bytes)
        return {"parts": parts, "compile_seconds": seconds, "refused": refused}
    text = read_program(compiled.as_text())
    return {
        "parts": parts,
        "compile_seconds": seconds,
        "working": placed.temp_size_in_bytes,
        "peak": placed.peak_memory_in_bytes,
        "flops": product_flops(text),
        "traffic": traffic(text, len(where.devices), where.slice_of, where.nets),
    }


def _placed(program: jax.stages.Lowered, where: Slices) -> jax.stages.Compiled:
    """Compiles as quickly as can be; a program that does not fit so is tried as it would run."""
    if not where.chip:
        return program.compile(_QUICK_FOR_CPUS)
    if isinstance(where.chip, Gpu):
        return program.compile(_UNMEASURED_ON_GPUS)
    try:
        return program.compile(_QUICK_FOR_TPUS)
    except jax.errors.JaxRuntimeError as error:
        if out_of_memory(str(error)) is None:
            raise
        return program.compile()
