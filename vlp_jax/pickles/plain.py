"""Reads a pickle of plain Python data and numpy values."""

import io
from typing import Any

from vlp_jax.pickles.machine import PickleMachine
from vlp_jax.pickles.numpy_values import BUILDERS, GLOBALS
from vlp_jax.pickles.safety import Opaque, refuse_code_runners


def read_pickle(data: bytes) -> Any:
    """Returns the pickled object; numpy arrays are `np.ndarray`, other classes `Opaque`.

    Raises ValueError for damaged, oversized or hostile input, including globals that run code.
    """
    return PickleMachine(_find_global, _refuse_persistent, BUILDERS).run(io.BytesIO(data))


def _find_global(module: str, name: str) -> Any:
    refuse_code_runners(module, name)
    return GLOBALS.get((module, name)) or Opaque(module, name)


def _refuse_persistent(_: Any) -> None:
    raise ValueError("the pickle refers to an object outside of itself")
