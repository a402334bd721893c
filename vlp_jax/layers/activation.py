"""Activation functions by the names that published configs use."""

from typing import Annotated

import jax
from jaxtyping import Array

from vlp_jax.config.registry import Registry


def gelu(x: Array) -> Array:
    """Gaussian error linear unit in its exact form, which all published models here use."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS = Registry("activation")
ACTIVATIONS.update(gelu=gelu, relu=jax.nn.relu, swish=jax.nn.silu, silu=jax.nn.silu)

Activation = Annotated[str, ACTIVATIONS]
