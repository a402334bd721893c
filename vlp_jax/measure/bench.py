"""The benchmark: train steps and inference of models, ours beside torch's, in one table.

MFU = operations that have to be computed (forward and backward, nothing twice) / seconds / peak of
the devices; the share of the ceiling is the same with a matrix product of this run as the peak.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vlp_jax.config import ExperimentConfig
from vlp_jax.measure.bench_ours import Measured, Ours, measured
from vlp_jax.measure.bench_peaks import peak_flops
from vlp_jax.measure.bench_turns import Program, Spread, by_turns
from vlp_jax.training.experiment import Experiment

OURS, TORCH, COMPILED = "jax", "torch", "torch.compile"


@dataclass(frozen=True)
class Side:
    """One library's figures of a row.

    Attributes:
      seconds: of a call. pairs_per_second: at the median.
      ceiling_share: of the same library's matrix product in this run.
      mfu: of what the maker promises; None where that is not known.
      flops_per_pair: that have to be computed.
      memory_bytes: ours as the compiler plans it, torch's as its allocator counts it on a GPU.
    """

    seconds: Spread
    pairs_per_second: float
    ceiling_share: float
    mfu: float | None
    flops_per_pair: float
    memory_bytes: int | None
    parameters: int
    compile_seconds: float | None = None
    recomputed_per_pair: float = 0.0


@dataclass(frozen=True)
class Row:
    """What was timed, with which sizes, and by whom how fast.

    `ratios` are torch's seconds over ours, turn by turn.
    """

    model: str
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
    product = measured(jnp.matmul, *[jnp.ones((side, side), dtype)] * 2)
    programs = {OURS: product.program}
    if rivals.names:
        from vlp_jax.measure.bench_torch import torch_matmul

        programs[TORCH] = torch_matmul(side, dtype)
    seconds = by_turns(programs, turns)
    found = {name: product.flops / min(each) for name, each in seconds.items()}
    return found | {rival: found[TORCH] for rival in rivals.names}


def rows_of(
    name: str, experiment: Experiment, rivals: Rivals, turns: int, ceiling: Mapping[str, float]
) -> Iterator[Row]:
    """Yields the row of the train step and that of inference; torch's side where it has a twin."""
    config, ours, twin = experiment.config, Ours(experiment), None
    if rivals.names:
        from vlp_jax.measure.bench_torch import TWINS, Twin

        twin = Twin(name, config, ours.batch) if name in TWINS else None
    theirs = twin.flops() if twin else (0.0, 0.0)
    for what, own, flops in (("train", ours.train, theirs[0]), ("infer", ours.infer, theirs[1])):
        mine = own()
        programs: dict[str, Program] = {OURS: mine.program}
        for rival in rivals.names if twin else ():
            programs[rival] = getattr(twin, what)(compiled=rival == COMPILED)
        seconds = by_turns(programs, turns)
        sides = {OURS: _our_side(mine, seconds[OURS], ours, ceiling)}
        for rival in programs.keys() - {OURS}:
            memory = twin.memory_bytes(programs[rival])
            sides[rival] = _side(
                seconds[rival], flops, config, ceiling[rival], memory, twin.parameters
            )
        yield Row(
            name,
            what,
            ours.group if what == "train" else (ours.head,),
            config.data.batch_size,
            config.training.dtype,
            sides,
            {rival: _ratio(seconds[rival], seconds[OURS]) for rival in sides.keys() - {OURS}},
        )


def _our_side(
    mine: Measured, seconds: list[float], ours: Ours, ceiling: Mapping[str, float]
) -> Side:
    config = ours.experiment.config
    side = _side(
        seconds, mine.flops, config, ceiling[OURS] * jax.device_count(), mine.memory_bytes,
        ours.parameters,
    )  # fmt: skip
    recomputed = mine.recomputed / config.data.batch_size
    return dataclasses.replace(
        side, compile_seconds=mine.compile_seconds, recomputed_per_pair=recomputed
    )


def _side(
    seconds: list[float],
    flops: float,
    config: ExperimentConfig,
    ceiling: float,
    memory: int | None,
    parameters: int,
) -> Side:
    spread, batch = Spread.of(seconds), config.data.batch_size
    speed, peak = flops / spread.median, peak_flops(jax.devices()[0])
    mfu = speed / peak / jax.device_count() if peak else None
    pairs = batch / spread.median
    return Side(spread, pairs, speed / ceiling, mfu, flops / batch, memory, parameters)


def _ratio(theirs: list[float], ours: list[float]) -> Spread:
    return Spread.of([a / b for a, b in zip(theirs, ours)])
