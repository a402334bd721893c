"""The network that says of every anchor whether it holds something, and how to move it."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vlp_jax.detectors.anchors import integer_anchors


class ProposalHead(nn.Module):
    """What a region proposal network says of each cell's anchors: logits and deltas.

    The anchors of a cell are among its weights if `stored`, as in published files. Its hidden layer
    has `width` channels, or as many as the map.
    """

    sizes: Sequence[float]
    ratios: Sequence[float]
    make: Callable[[Sequence[float], Sequence[float]], np.ndarray] = integer_anchors
    width: int = 0
    stored: bool = True

    @nn.compact
    def __call__(
        self, grid: Float[Array, "b h w c"], inside: Bool[Array, "b h w"]
    ) -> tuple[Float[Array, "b h w a"], Float[Array, "b h w a*4"], Float[Array, "a 4"]]:
        make = lambda *_: jnp.asarray(self.make(self.sizes, self.ratios))
        cell = self.param("cell_anchors", make) if self.stored else make()
        grid = jnp.where(inside[..., None], grid, 0)
        width = self.width or grid.shape[-1]
        hidden = jax.nn.relu(nn.Conv(width, (3, 3), padding=1, name="hidden")(grid))
        logits = nn.Conv(len(cell), (1, 1), name="logits")(hidden)
        return logits, nn.Conv(4 * len(cell), (1, 1), name="deltas")(hidden), cell
