"""The benchmark: train steps and inference of models, ours beside torch's, in one table.

MFU = operations that have to be computed (forward and backward, nothing twice) / seconds / peak of
the devices; the share of the ceiling is the same with a matrix product of this run as the peak.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from vlp_jax.cli.measure.bench_ours import Ours, measured
from vlp_jax.cli.measure.bench_turns import Measured, Spread, by_turns
from vlp_jax.parallel.peaks import peak_flops
from vlp_jax.training.experiment import Experiment

OURS, TORCH, COMPILED = "jax", "torch", "torch.compile"


@dataclass(frozen=True)
class Side:
    """One library's figures of a row.

    Attributes:
      seconds: of a call. pairs_per_second: at the median.
      ceiling_share: of the same library's matrix product in this run.
      mfu: of what the maker promises; None where that is not known.
      flops_per_pair: that have to be computed. recomputed_per_pair: those beside them.
      memory_bytes: ours as the compiler plans it, torch's as its allocator counts it on a GPU.
    """

    seconds: Spread
    pairs_per_second: float
    ceiling_share: float
    mfu: float | None
    flops_per_pair: float
    recomputed_per_pair: float
    memory_bytes: int | None
    parameters: int
    compile_seconds: float | None


@dataclass(frozen=True)
class Row:
    """What was timed, with which sizes, and by whom how fast.

    `size` is one of `bench_models.SIZES`, or None for an experiment at its own; `ratios` are
    torch's seconds over ours, turn by turn.
    """

    model: str
    size: str | None
    what: str
    tasks: tuple[str, ...]
    batch: int
    dtype: str
    sides: dict[str, Side]
    ratios: dict[str, Spread]


@dataclass(frozen=True)
class Rivals:
    """What of torch runs beside ours: nothing, eager, or `torch.compile` as well."""

    torch: bool = False
    compiled: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Their names in a table."""
        return (TORCH,) * self.torch + (COMPILED,) * self.compiled


def machine() -> dict[str, Any]:
    """Returns what figures depend on: devices, threads, versions."""
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "threads": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "peak_flops": peak_flops(jax.devices()[0]),
    }


def ceilings(dtype: str, rivals: Rivals, turns: int) -> dict[str, float]:
    """Returns the operations a second of a large matrix product in each library, on one device."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = jax.random.normal(jax.random.key(0), (side, side), dtype)
    product = measured(jnp.matmul, matrix, matrix)
    programs = {OURS: product.program}
    if rivals.names:
        from vlp_jax.cli.measure.bench_torch import torch_matmul

        programs[TORCH] = torch_matmul(side, dtype)
    seconds = by_turns(programs, turns)
    found = {name: product.flops / min(each) for name, each in seconds.items()}
    return found | {rival: found[TORCH] for rival in rivals.names}


Call = tuple[str, tuple[str, ...], dict[str, Measured]]
"""What is called ("train" or "infer"), for which tasks, and whose programs do it."""


class Timed(Protocol):
    """What has rows in the table.

    Attributes:
      name, size, batch, dtype: as in a row. devices: on which our side computes.
    """

    name: str
    size: str | None
    batch: int
    dtype: str
    devices: int

    def calls(self, rivals: Rivals) -> Iterator[Call]:
        """Yields what is called; torch's side as well where it is wanted and has a twin."""


class TimedExperiment:
    """The train step of an experiment, and inference of its model."""

    def __init__(self, name: str, experiment: Experiment, size: str | None = None):
        self.name, self.size = name, size
        self.batch = experiment.config.data.batch_size
        self.dtype = experiment.config.training.dtype
        self.devices = jax.device_count()
        self._experiment = experiment

    def calls(self, rivals: Rivals) -> Iterator[Call]:
        """Yields the train step, then inference."""
        ours, twin = Ours(self._experiment), None
        if rivals.names:
            from vlp_jax.cli.measure.bench_torch import TWINS, Twin

            twin = (
                Twin(self.name, self._experiment.config, ours.batch) if self.name in TWINS else None
            )
        for what, tasks in (("train", ours.group), ("infer", (ours.asked,))):
            found = {OURS: getattr(ours, what)()}
            for rival in rivals.names if twin else ():
                found[rival] = getattr(twin, what)(compiled=rival == COMPILED)
            yield what, tasks, found


def rows_of(
    timed: Timed, rivals: Rivals, turns: int, ceiling: Mapping[str, float]
) -> Iterator[Row]:
    """Yields a row for each call; `ceiling` is what `ceilings` gives."""
    for what, tasks, found in timed.calls(rivals):
        seconds = by_turns({by: each.program for by, each in found.items()}, turns)
        sides = {by: _side(timed, found[by], seconds[by], ceiling[by]) for by in found}
        ratios = {by: _ratio(seconds[by], seconds[OURS]) for by in found if by != OURS}
        yield Row(timed.name, timed.size, what, tasks, timed.batch, timed.dtype, sides, ratios)


def _side(timed: Timed, found: Measured, seconds: list[float], ceiling: float) -> Side:
    spread, peak, batch = Spread.of(seconds), peak_flops(jax.devices()[0]), timed.batch
    speed = found.flops / spread.median / timed.devices
    return Side(
        seconds=spread,
        pairs_per_second=batch / spread.median,
        ceiling_share=speed / ceiling,
        mfu=speed / peak if peak else None,
        flops_per_pair=found.flops / batch,
        recomputed_per_pair=found.recomputed / batch,
        memory_bytes=found.memory_bytes,
        parameters=found.parameters,
        compile_seconds=found.compile_seconds,
    )


def _ratio(theirs: list[float], ours: list[float]) -> Spread:
    return Spread.of([a / b for a, b in zip(theirs, ours)])
