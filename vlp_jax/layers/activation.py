"""Activation functions by the names that published configs use."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.config.registry import Registry


@jax.custom_vjp
def gelu(x: Array) -> Array:
    """Gaussian error linear unit in its exact form, which all published models here use.

    Its backward pass keeps `x` alone, that of automatic differentiation four arrays.
    """
    return jax.nn.gelu(x, approximate=False)


def _gelu_backward(x: Array, slope: Array) -> tuple[Array]:
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return ((_normal_cdf(wide) + wide * jax.scipy.stats.norm.pdf(wide)).astype(x.dtype) * slope,)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * jax.lax.erfc(-x * 0.5**0.5)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)

ACTIVATIONS = Registry("activation")
ACTIVATIONS.update(gelu=gelu, relu=jax.nn.relu, swish=jax.nn.silu, silu=jax.nn.silu)

Activation = Annotated[str, ACTIVATIONS]
