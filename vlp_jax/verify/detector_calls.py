"""Runs a detector as a reference bundle has run the original."""

from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import quick_jit


def frames_of(bundle: Bundle) -> Iterator[tuple[str, slice, np.ndarray, np.ndarray]]:
    """Yields name, rows, pixels and sizes: all pictures in one frame, then each alone without."""
    pixels, sizes = bundle.input("pixel_values").transpose(0, 2, 3, 1), bundle.input("sizes")
    yield "batch", slice(None), pixels, sizes
    for i, (height, width) in enumerate(sizes):
        own = slice(i, i + 1)
        yield f"single{i}", own, pixels[own, :height, :width], sizes[own]


def run_call(
    detector: nn.Module, params: Any, pixels: np.ndarray, sizes: np.ndarray
) -> tuple[Any, dict[str, Any]]:
    """Returns what is found, and what the detector tells on the way.

    Convolutions see the whole frame that the pictures lie in, as in the original.
    """
    frames = np.broadcast_to(pixels.shape[1:3], sizes.shape)
    apply = quick_jit(
        lambda *given: detector.apply({"params": params}, *given, mutable="intermediates")
    )
    found, kept = apply(pixels, sizes, frames)
    return found, kept["intermediates"]


def channels_first(values: Any) -> jax.Array:
    """[..., H, W, C] -> [N, C, H, W], as bundles have maps."""
    return jnp.moveaxis(jnp.asarray(values), -1, 1)
