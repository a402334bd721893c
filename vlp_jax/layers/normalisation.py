"""Layer normalisation as the published models compute it."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.layers.projection import zeros_init

BERT_EPSILON = 1e-12
VIT_EPSILON = 1e-6


class LayerNorm(nn.Module):
    """Normalises the last axis in float32 and returns the dtype of its input.

    The variance is the mean of squared deviations: Flax's default E[x²] - E[x]² loses up to 1e-3 on
    states with an offset.
    """

    epsilon: float = BERT_EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        scale_init = nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",))
        scale = self.param("scale", scale_init, (x.shape[-1],))
        bias = self.param("bias", zeros_init("norm"), (x.shape[-1],))
        centred = x.astype(jnp.float32)
        centred = centred - centred.mean(-1, keepdims=True)
        variance = jnp.square(centred).mean(-1, keepdims=True)
        return (centred * jax.lax.rsqrt(variance + self.epsilon) * scale + bias).astype(x.dtype)
