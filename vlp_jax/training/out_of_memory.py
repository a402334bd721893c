"""Memory that does not suffice: what JAX raises of it, as one sentence that says what to change."""

import contextlib
import re
from collections.abc import Iterator

import jax

from vlp_jax.config import ExperimentConfig

_SIGNS = re.compile(r"resource_exhausted|out of memory|\boom\b", re.IGNORECASE)


class OutOfMemoryError(RuntimeError):
    """The devices have too little memory for what was asked of them."""


@contextlib.contextmanager
def memory_named(advice: str) -> Iterator[None]:
    """Turns what JAX raises when memory is exhausted into an OutOfMemoryError with that advice."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        said = str(error).partition("\n")[0]
        if not _SIGNS.search(said):
            raise
        raise OutOfMemoryError(f"out of memory: {advice} ({said:.300})") from error


def training_advice(config: ExperimentConfig) -> str:
    """Returns what makes a step smaller, with the values that the config has."""
    data, training = config.data, config.training
    ways = [f"lower config.data.batch_size ({data.batch_size})"]
    if data.batch_size > training.accumulate:
        ways.append(f"raise config.training.accumulate ({training.accumulate})")
    if training.remat != "full":
        ways.append(f'set config.training.remat = "full" (it is "{training.remat}")')
    if training.dtype == "float32":
        ways.append('set config.training.dtype = "bfloat16"')
    if jax.device_count() > max(config.mesh.fsdp, 1):
        ways.append(
            f"share the parameters over more devices by config.mesh.fsdp ({config.mesh.fsdp})"
        )
    return ", or ".join(ways)


def evaluation_advice(config: ExperimentConfig) -> str:
    """Returns what makes an evaluation smaller."""
    return f"lower config.evaluation.batch_size ({config.evaluation.batch_size})"
