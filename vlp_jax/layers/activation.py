"""Activation functions by the names that published configs use."""

import math
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.config.registry import Registry


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """Gaussian error linear unit in its exact form, which all published models here use.

    Written by erf, as those do: by erfc, as in `jax.nn.gelu`, it takes a CPU twice as long. Its
    backward pass keeps `x` alone, that of automatic differentiation four arrays.
    """
    wide = _wide(x)
    return (wide * _normal_cdf(wide)).astype(x.dtype)


def _gelu_backward(x: Array, slope: Array) -> tuple[Array]:
    wide = _wide(x)
    density = jnp.exp(-0.5 * wide * wide) / math.sqrt(2 * math.pi)
    return ((_normal_cdf(wide) + wide * density).astype(x.dtype) * slope,)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1.0 + jax.lax.erf(x * math.sqrt(0.5)))


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)

ACTIVATIONS = Registry("activation")
ACTIVATIONS.update(gelu=gelu, relu=jax.nn.relu, swish=jax.nn.silu, silu=jax.nn.silu)

Activation = Annotated[str, ACTIVATIONS]
