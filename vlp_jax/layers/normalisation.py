"""Layer normalisation as the published models compute it."""

from typing import Any

import flax.linen as nn
from jaxtyping import Array, Float

from vlp_jax.layers.projection import zeros_init

BERT_EPSILON = 1e-12
VIT_EPSILON = 1e-6


class LayerNorm(nn.LayerNorm):
    """Flax's, in float32 with the variance as the mean of squared deviations.

    Its default E[x²] - E[x]² loses up to 1e-3 on states with an offset. The result has the dtype of
    the input.
    """

    epsilon: float = BERT_EPSILON
    use_fast_variance: bool = False
    scale_init: Any = nn.with_logical_partitioning(nn.initializers.ones_init(), ("norm",))
    bias_init: Any = zeros_init("norm")

    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        return super().__call__(x).astype(x.dtype)
