"""A weight-normalised classifier (Salimans and Kingma 2016), as ViLBERT's first release has."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Fraction, Natural
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head
from vlp_jax.layers.projection import affine, kernel_init, zeros_init


class WeightNormLinear(nn.Module):
    """x · (g · V / ‖V‖) + b with one learned magnitude g for the whole matrix.

    That is torch's `weight_norm(..., dim=None)`: ‖V‖ is the Frobenius norm and g a scalar.
    `output_dtype` is as in `Linear`.
    """

    features: int
    axes: tuple[str | None, str | None] = ("embed", "mlp")
    output_dtype: DTypeLike | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        shape = (x.shape[-1], self.features)
        direction = self.param("direction", kernel_init(*self.axes), shape)
        norm = jnp.linalg.norm(direction)
        magnitude = self.param("magnitude", lambda key: norm)
        bias = self.param("bias", zeros_init(self.axes[1]), (self.features,))
        kernel = (direction * (magnitude / norm)).astype(x.dtype)
        return affine(x, kernel, bias, output_dtype=self.output_dtype)


@HEADS.register("weight_norm_classifier")
class WeightNormClassifier(Head):
    """Linear, ReLU, dropout, Linear, both with weight normalisation; logits [B, classes], float32.

    `hidden` is the inner width, by default twice that of the pooled vector. `classes` = 0 stands
    for as many as the data has answers.
    """

    classes: Natural = 0
    hidden: Natural = 0
    dropout: Fraction = 0.5

    sized_by = {"class": "classes"}

    @nn.compact
    def __call__(self, pooled: Float[Array, "b d"], *, deterministic: bool = True):
        expand = WeightNormLinear(self.hidden or 2 * pooled.shape[-1], name="hidden")
        hidden = jax.nn.relu(expand(pooled))
        hidden = nn.Dropout(self.dropout)(hidden, deterministic=deterministic)
        output = WeightNormLinear(
            self.classes, axes=("mlp", None), output_dtype=jnp.float32, name="output"
        )
        return output(hidden)
