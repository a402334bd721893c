"""The convolutions of a "C4" detector: three stages before regions are cut out, one after it.

"Inside" says which cells of a map are of the pictures, which lie at the corner of a frame that
they do not fill; what is outside of them changes nothing inside.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.encoders.resnet import Convolution, ResidualBlock


def inside_of(sizes: Int[Array, "b 2"], height: int, width: int) -> Bool[Array, "b h w"]:
    """Returns which cells of a frame belong to pictures of `sizes` = (height, width)."""
    rows = jnp.arange(height) < sizes[:, :1]
    columns = jnp.arange(width) < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None, :]


def extents_of(inside: Bool[Array, "b h w"]) -> Int[Array, "b 2"]:
    """Returns how many rows and columns of a map belong to each picture."""
    return jnp.stack([inside[:, :, 0].sum(axis=1), inside[:, 0].sum(axis=1)], axis=1)


def pool_stem(
    grid: Float[Array, "b h w c"], inside: Bool[Array, "b h w"], caffe: bool
) -> tuple[Float[Array, "b i j c"], Bool[Array, "b i j"]]:
    """Returns the maximum of every second 3 × 3 cells of a map without negative numbers.

    They begin one cell outside of the picture, or with `caffe` at its first one, and the last ones
    may end outside.
    """
    grid = jnp.where(inside[..., None], grid, 0)
    first = 1 if caffe else 0
    padding = [(0, 1 - size % 2) if caffe else (1, 1) for size in grid.shape[1:3]]
    pooled = nn.max_pool(grid, (3, 3), strides=(2, 2), padding=padding)
    return pooled, inside[:, first::2, first::2]


class Stage(nn.Module):
    """Bottlenecks of one width, `inner` channels within; the first one has the stride.

    `groups` makes it ResNeXt (Xie et al. 2017).
    """

    features: int
    inner: int
    depth: int
    stride: int
    groups: int = 1
    dilation: int = 1
    epsilon: float = 1e-5
    stride_in_first: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], inside: Bool[Array, "b h w"] | None = None
    ) -> Float[Array, "b i j f"]:
        for i in range(self.depth):
            stride = self.stride if i == 0 else 1
            x = ResidualBlock(
                self.features,
                bottleneck=True,
                stride=stride,
                stride_in_first=self.stride_in_first,
                activation="relu",
                frozen=True,
                inner=self.inner,
                groups=self.groups,
                dilation=self.dilation,
                epsilon=self.epsilon,
                name=f"block_{i}",
            )(x, inside)
            inside = None if inside is None else inside[:, ::stride, ::stride]
        return x


class Trunk(nn.Module):
    """Pixels to a map with a cell for 16 × 16 of them: a stem and three stages.

    Attributes:
      stem: its channels.
      widths, inners, depths: of the stages; "stage_i_output" is sown of each.
      caffe_pool: see `pool_stem`.
      stride_in_first: the stride is in a block's 1 × 1 convolution, not in the 3 × 3 one.
    """

    stem: int
    widths: tuple[int, ...]
    inners: tuple[int, ...]
    depths: tuple[int, ...]
    groups: int = 1
    epsilon: float = 1e-5
    caffe_pool: bool = False
    stride_in_first: bool = False

    @nn.compact
    def __call__(
        self, pixels: Float[Array, "b h w 3"], sizes: Int[Array, "b 2"]
    ) -> tuple[Float[Array, "b i j f"], Bool[Array, "b i j"]]:
        """Returns the map of pictures of `sizes`, and what of it is inside of them."""
        inside = inside_of(sizes, *pixels.shape[1:3])[:, ::2, ::2]
        stem = Convolution(self.stem, 7, 2, epsilon=self.epsilon, name="stem")
        grid, inside = pool_stem(jax.nn.relu(stem(pixels)), inside, self.caffe_pool)
        self.sow("intermediates", "stem_output", grid)
        for i, shape in enumerate(zip(self.widths, self.inners, self.depths, strict=True)):
            stride = 1 if i == 0 else 2
            options = dict(epsilon=self.epsilon, stride_in_first=self.stride_in_first)
            stage = Stage(*shape, stride, self.groups, **options, name=f"stage_{i}")
            grid, inside = stage(grid, inside), inside[:, ::stride, ::stride]
            self.sow("intermediates", f"stage_{i}_output", grid)
        return grid, inside
