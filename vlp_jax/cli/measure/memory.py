"""What a step keeps on one chip, by kind, and whether the compiler could place it."""

import math
import re
from typing import Any

import jax

from vlp_jax.training.state import TrainState

_USED = re.compile(
    r"Used ([\d.]+)([KMGT]?)i?B? of ([\d.]+)([KMGT]?)i?B? (hbm|vmem|smem)", re.IGNORECASE
)
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def state_parts(state: TrainState) -> dict[str, int]:
    """Returns what one device holds of each kind of a state's (or of its shapes') arrays."""
    kinds = {
        "parameters": state.params,
        "optimizer": state.opt_state,
        "teacher": state.teacher,
        "task states": state.tasks,
    }
    return {kind: sum(map(device_bytes, jax.tree.leaves(tree))) for kind, tree in kinds.items()}


def replicated_bytes(tree: Any) -> int:
    """Returns the bytes of the arrays that several devices all hold whole."""
    whole = lambda x: x.sharding.num_devices > 1 and x.sharding.is_fully_replicated
    return sum(device_bytes(x) for x in jax.tree.leaves(tree) if whole(x))


def device_bytes(x: Any) -> int:
    """Returns the bytes of one device's part of an array with a sharding."""
    return math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize


def out_of_memory(message: str) -> str | None:
    """Returns the compiler's refusal as a sentence; None where it refused for another reason."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    used = _USED.search(message)
    if used is None:
        return "it does not fit: " + message.split("RESOURCE_EXHAUSTED:")[-1].strip().split("\n")[0]
    needed, there = (_bytes(*used.groups()[i : i + 2]) for i in (0, 2))
    return does_not_fit(needed, there, used[5].upper())


def does_not_fit(needed: float, there: float, kind: str = "HBM") -> str:
    """Returns a refusal for want of memory as a sentence."""
    return (
        f"it does not fit: a chip needs {needed / 2**30:.2f} GiB of {kind} and has "
        f"{there / 2**30:.2f} GiB"
    )


def _bytes(number: str, unit: str) -> float:
    return float(number) * 1024 ** _UNITS[unit.upper()]
