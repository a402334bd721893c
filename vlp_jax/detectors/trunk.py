"""The convolutions of a "C4" detector: three stages before regions are cut out, one after it."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.encoders.resnet import Convolution, ResidualBlock


def inside_of(sizes: Int[Array, "b 2"], height: int, width: int) -> Bool[Array, "b h w"]:
    """Returns which cells of a frame are of pictures of `sizes` = (height, width) at its corner."""
    rows = jnp.arange(height) < sizes[:, :1]
    columns = jnp.arange(width) < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None, :]


def strided(inside: Bool[Array, "b h w"] | None) -> Bool[Array, "b i j"] | None:
    """Returns which cells are inside after a layer of stride 2 that pads by half its size."""
    return None if inside is None else inside[:, ::2, ::2]


class Stage(nn.Module):
    """Bottlenecks of one width, `inner` channels within; the first one has the stride.

    `groups` makes it ResNeXt (Xie et al. 2017); `dilation` is of every 3×3 convolution.
    """

    features: int
    inner: int
    depth: int
    stride: int
    groups: int
    epsilon: float
    stride_in_first: bool = False
    dilation: int = 1

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
            inside = strided(inside) if stride == 2 else inside
        return x


class Trunk(nn.Module):
    """Pixels to the map with a cell for 16 × 16 of them: a stem and three stages.

    Stages have widths, inner widths and depths; each is sown as "stage_i_output". Given the `sizes`
    of pictures in a larger frame, the frame changes nothing within them.

    `caffe_pool`: the stem's pooling does not pad at the top and left, and has a cell more where its
    last window reaches over the border.
    """

    stem: int
    widths: Sequence[int]
    inners: Sequence[int]
    depths: Sequence[int]
    groups: int
    epsilon: float
    stride_in_first: bool = False
    caffe_pool: bool = False

    @nn.compact
    def __call__(
        self, pixels: Float[Array, "b h w 3"], sizes: Int[Array, "b 2"] | None = None
    ) -> Float[Array, "b i j f"]:
        inside = None if sizes is None else inside_of(sizes, *pixels.shape[1:3])
        grid = Convolution(self.stem, 7, 2, epsilon=self.epsilon, name="stem")(pixels, inside)
        grid, inside = self._pooled(jax.nn.relu(grid), strided(inside))
        self.sow("intermediates", "stem_output", grid)
        for i, shape in enumerate(zip(self.widths, self.inners, self.depths, strict=True)):
            stride = 1 if i == 0 else 2
            rest = stride, self.groups, self.epsilon, self.stride_in_first
            grid = Stage(*shape, *rest, name=f"stage_{i}")(grid, inside)
            self.sow("intermediates", f"stage_{i}_output", grid)
            inside = strided(inside) if stride == 2 else inside
        return grid

    def _pooled(
        self, grid: Float[Array, "b h w c"], inside: Bool[Array, "b h w"] | None
    ) -> tuple[Float[Array, "b i j c"], Bool[Array, "b i j"] | None]:
        """What is not inside is 0 to it, which the maximum of numbers from 0 on does not see."""
        grid = grid if inside is None else jnp.where(inside[..., None], grid, 0)
        padding, kept = ((1, 1), (1, 1)), strided(inside)
        if self.caffe_pool:
            padding = tuple((0, (n + 1) % 2) for n in grid.shape[1:3])
            kept = None if inside is None else inside[:, 1::2, 1::2]
        return nn.max_pool(grid, (3, 3), strides=(2, 2), padding=padding), kept

    def extents(self, sizes: Int[Array, "b 2"]) -> Int[Array, "b 2"]:
        """Returns how many rows and columns of the map are those of pictures of these sizes."""
        half = (sizes + 1) // 2
        return -(-(half // 2 if self.caffe_pool else (half + 1) // 2) // 4)
