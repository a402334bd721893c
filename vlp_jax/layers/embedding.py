"""Look-up tables for word, position and type ids."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.layers.projection import kernel_init


class Embedding(nn.Module):
    """Maps ids to vectors: int [...] -> float [..., features].

    With `frozen_first_row` the look-up of id 0 passes no gradient, as torch's `padding_idx=0` does;
    a tied output layer still trains that row.
    """

    size: int
    features: int
    frozen_first_row: bool = False
    axes: tuple[str | None, str] = ("vocab", "embed")

    def setup(self) -> None:
        self.table = self.param("table", kernel_init(*self.axes), (self.size, self.features))

    def __call__(self, ids: Int[Array, "*b"]) -> Float[Array, "*b d"]:
        vectors = jnp.take(self.table, ids, axis=0)
        if not self.frozen_first_row:
            return vectors
        return jnp.where((ids == 0)[..., None], jax.lax.stop_gradient(vectors), vectors)
