"""Published region detectors by name: weights, how they read pictures, how they choose regions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from vlp_jax.config import Registry
from vlp_jax.detectors.pixels import Prepared
from vlp_jax.parallel import unbox
from vlp_jax.weights.conversion import State, to_params, to_published
from vlp_jax.weights.key_table import KeyTable

DETECTORS = Registry("detector")


@dataclass(frozen=True)
class Convention:
    """How one implementation reads a picture and chooses regions in it.

    Attributes:
      detector: the network with the implementation's rules.
      prepare: uint8 RGB picture -> what the network reads.
      shortest, longest: the sides that prepared pictures have at most.
    """

    detector: nn.Module
    prepare: Callable[[np.ndarray], Prepared]
    shortest: int
    longest: int


@dataclass(frozen=True)
class PublishedDetector:
    """One published detector; `DETECTORS` holds them by name.

    Attributes:
      name: "frcnn_vg".
      conventions: published configuration -> `Convention` by name, the usual one first.
      key_table: network -> the table between the file's tensors and our parameters.
      columns: what the network found -> arrays [B, K, …] by their names in `Regions`.
      complete: published tensors -> the same with what the original's loading wants besides.
      paper: title, authors, year and where to read it.
    """

    name: str
    conventions: Callable[[Mapping[str, Any]], dict[str, Convention]]
    key_table: Callable[[Any], KeyTable]
    columns: Callable[[Any], dict[str, Any]]
    paper: str
    complete: Callable[[State], State] = lambda state: state

    def load(self, state: State, detector: nn.Module) -> dict[str, Any]:
        """Returns the parameters that a published state dict fills, float32.

        Raises ValueError that lists every tensor that does not fit or holds NaN.
        """
        return to_params(state, self.key_table(detector), abstract_params(detector))

    def save(self, params: Mapping, detector: nn.Module, like: State | None = None) -> State:
        """Returns parameters in the published layout, or in that of `like`, their former state."""
        return self.complete(to_published(params, self.key_table(detector), like))


def abstract_params(detector: nn.Module) -> Any:
    """Returns a detector's parameter tree as shapes."""
    return jax.eval_shape(partial(initial_params, detector), jax.random.key(0))


def initial_params(detector: nn.Module, key: Key[Array, ""]) -> Any:
    """Returns a detector's freshly drawn parameters."""
    pixels, sizes = jnp.zeros((1, 32, 32, 3)), jnp.full((1, 2), 32)
    return unbox(detector.init(key, pixels, sizes, sizes)["params"])


def register(published: PublishedDetector) -> PublishedDetector:
    """Files a published detector in `DETECTORS` under its name."""
    return DETECTORS.register(published.name)(published)
