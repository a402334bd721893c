"""What a part of a model has to give, and what is said of one that fails or gives another thing."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from vlp_jax.config.plugins import reason
from vlp_jax.layers.tokens import Fused, Tokens


@contextlib.contextmanager
def calling(path: str, part: Any, arguments: str) -> Iterator[None]:
    """Turns what a part raises into a ValueError that says how it was called; ValueErrors stay.

    `path` is its place in the config, `arguments` what every part of its kind is given.
    """
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        call = f"{type(part).__name__}({arguments}, deterministic=...)"
        raise ValueError(f"{path}: {call} fails with {reason(error)}") from error


def as_tokens(path: str, part: Any, given: Any) -> Tokens:
    """Returns what an encoder gave; ValueError if it is no Tokens [B, T, D] with a mask [B, T]."""
    if not isinstance(given, Tokens):
        raise ValueError(f"{_gives(path, part, given)}, expected Tokens(states, mask)")
    states, mask = given.states.shape, given.mask.shape
    if len(states) != 3 or mask != states[:2]:
        raise ValueError(
            f"{path}: {type(part).__name__} gives states {list(states)} and a mask {list(mask)}, "
            "expected [B, T, D] and [B, T]"
        )
    return given


def as_fused(path: str, part: Any, given: Any) -> Fused:
    """Returns what a fusion gave; ValueError if it is not Fused."""
    if not isinstance(given, Fused):
        raise ValueError(f"{_gives(path, part, given)}, expected Fused(image=..., text=...)")
    return given


def _gives(path: str, part: Any, given: Any) -> str:
    is_array = isinstance(given, jax.Array | np.ndarray)
    what = f"an array {list(given.shape)}" if is_array else type(given).__name__
    return f"{path}: {type(part).__name__} gives {what}"
