"""ResNet (He et al. 2016) whose last feature map, cell by cell, gives the image tokens."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.config.ranges import Count, Finite, Fraction, Natural, Positive
from vlp_jax.encoders import VISION_ENCODERS
from vlp_jax.encoders.encoder import VisionEncoder
from vlp_jax.encoders.vit import normalise_pixels
from vlp_jax.layers.activation import ACTIVATIONS, Activation
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear, kernel_init
from vlp_jax.layers.tokens import Tokens

# The statistics of ImageNet's training images, with which published ResNets were trained.
PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)

# Batch normalisation's usual addend to the variance.
EPSILON = 1e-5

# A bottleneck's inner convolutions have a quarter of its channels (He et al. 2016, table 1).
REDUCTION = 4


class StoredNorm(nn.Module):
    """Batch normalisation by the statistics that come with the weights, in training too.

    Fresh statistics are those of no normalisation, mean 0 and variance 1; they are never trained.
    With `frozen` scale and bias are not trained either.
    """

    frozen: bool
    zero_scale: bool = False
    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        def vector(name: str, value: float, trained: bool) -> Array:
            init = nn.with_logical_partitioning(nn.initializers.constant(value), ("norm",))
            stored = self.param(name, init, (x.shape[-1],))
            return stored if trained else jax.lax.stop_gradient(stored)

        scale = vector("scale", 0.0 if self.zero_scale else 1.0, not self.frozen)
        bias = vector("bias", 0.0, not self.frozen)
        mean = vector("mean", 0.0, False)
        factor = scale * jax.lax.rsqrt(vector("variance", 1.0, False) + self.epsilon)
        return ((x.astype(jnp.float32) - mean) * factor + bias).astype(x.dtype)


class Convolution(nn.Module):
    """Convolution without bias, padded by half its reach, then normalisation.

    What is not `inside` the picture is zero to it, as its own padding is.
    """

    features: int
    size: int
    stride: int = 1
    frozen: bool = True
    zero_scale: bool = False
    groups: int = 1
    dilation: int = 1
    epsilon: float = EPSILON

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], inside: Bool[Array, "b h w"] | None = None
    ) -> Float[Array, "b i j f"]:
        if inside is not None and self.size > 1:
            x = jnp.where(inside[..., None], x, 0)
        init = nn.with_logical_partitioning(
            nn.initializers.variance_scaling(2.0, "fan_out", "normal"), (None, None, None, "embed")
        )
        convolution = nn.Conv(
            self.features,
            (self.size, self.size),
            strides=self.stride,
            padding=self.dilation * (self.size // 2),
            kernel_dilation=self.dilation,
            feature_group_count=self.groups,
            use_bias=False,
            kernel_init=init,
            dtype=x.dtype,
            name="convolution",
        )
        norm = StoredNorm(self.frozen, self.zero_scale, self.epsilon, name="norm")
        return norm(convolution(x))


class ResidualBlock(nn.Module):
    """activation(shortcut(x) + convolutions(x)); the inner activations are ReLU.

    `inside` says where in x the pictures are; what lies beyond changes nothing within. A bottleneck
    has `inner` channels, by default a quarter; `groups` and `dilation` are of its 3×3 convolution.
    """

    features: int
    bottleneck: bool
    stride: int
    stride_in_first: bool
    activation: str
    frozen: bool
    inner: int = 0
    groups: int = 1
    dilation: int = 1
    epsilon: float = EPSILON

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], inside: Bool[Array, "b h w"] | None = None
    ) -> Float[Array, "b i j f"]:
        hidden, shapes = x, self._shapes()
        for i, (features, size, stride) in enumerate(shapes):
            last = i == len(shapes) - 1
            # Each block starts as the identity (Goyal et al. 2017, section 5.1) if it can leave it.
            zero_scale = last and not self.frozen
            hidden = self._layer(f"layer_{i}", features, size, stride, zero_scale)(hidden, inside)
            hidden = hidden if last else jax.nn.relu(hidden)
            inside = None if inside is None else inside[:, ::stride, ::stride]
        if x.shape[-1] != self.features or self.stride != 1:
            x = self._layer("shortcut", self.features, 1, self.stride, False)(x)
        return ACTIVATIONS.get_known(self.activation)(x + hidden)

    def _layer(
        self, name: str, features: int, size: int, stride: int, zero_scale: bool
    ) -> Convolution:
        groups, dilation = (self.groups, self.dilation) if size > 1 else (1, 1)
        return Convolution(
            features,
            size,
            stride,
            self.frozen,
            zero_scale,
            groups,
            dilation,
            self.epsilon,
            name=name,
        )

    def _shapes(self) -> tuple[tuple[int, int, int], ...]:
        """Returns features, size and stride of each convolution."""
        if not self.bottleneck:
            return (self.features, 3, self.stride), (self.features, 3, 1)
        inner = self.inner or self.features // REDUCTION
        strides = (self.stride, 1) if self.stride_in_first else (1, self.stride)
        return (inner, 1, strides[0]), (inner, 3, strides[1]), (self.features, 1, 1)


@VISION_ENCODERS.register("resnet")
class ResNet(VisionEncoder):
    """Encodes `image` [B, H, W, 3] (uint8, or float already normalised) to grid tokens, row by row.

    The default is ResNet-50; (3, 4, 23, 3) blocks make ResNet-101. Tokens are the last feature map
    as it is or, with `width` > 0, its projection plus learned positions, normalised.

    * `embedding_width`, `widths`, `depths`: channels of the stem and of each stage, blocks a stage.
    * `block`: "bottleneck" (50 layers and more) or "basic" (18, 34).
    * `stride_in_first`: the bottleneck's stride is in its first convolution (He et al.), not in the
      3×3 one (torchvision, "v1.5").
    * `stride_in_first_stage`: the first stage, too, halves the resolution.
    * `frozen_norm`: scale and shift of the normalisations keep their values in training. Their
      statistics always do.
    """

    image_size: Count = 224
    embedding_width: Count = 64
    widths: tuple[Count, ...] = (256, 512, 1024, 2048)
    depths: tuple[Count, ...] = (3, 4, 6, 3)
    block: Literal["bottleneck", "basic"] = "bottleneck"
    activation: Activation = "relu"
    stride_in_first: bool = False
    stride_in_first_stage: bool = False
    frozen_norm: bool = True
    width: Natural = 0
    dropout: Fraction = 0.0
    pixel_mean: tuple[Finite, Finite, Finite] = PIXEL_MEAN
    pixel_std: tuple[Positive, Positive, Positive] = PIXEL_STD
    dtype: str = "float32"

    @nn.compact
    def __call__(self, batch: dict, *, deterministic: bool = True) -> Tokens:
        image = self._checked(batch["image"])
        image = normalise_pixels(image, self.pixel_mean, self.pixel_std).astype(self.dtype)
        grid = self._stem(image)
        for stage, (features, depth) in enumerate(zip(self.widths, self.depths)):
            for i in range(depth):
                halves = i == 0 and (stage > 0 or self.stride_in_first_stage)
                grid = self._block(f"stage_{stage}_block_{i}", features, 2 if halves else 1)(grid)
            self.sow("intermediates", f"stage_{stage}_output", grid)
        states = grid.reshape(len(grid), -1, grid.shape[-1])
        if self.width:
            states = self._embed(states, deterministic)
        return Tokens(states, jnp.ones(states.shape[:2], bool))

    def _checked(self, image: Array) -> Array:
        if len(self.widths) != len(self.depths):
            raise ValueError(
                f"vision_args.widths = {self.widths} and depths = {self.depths}: expected one "
                "entry each for every stage"
            )
        if image.shape[1:3] != (self.image_size, self.image_size):
            raise ValueError(
                f"the vision encoder was built for images of {self.image_size}×{self.image_size} "
                f"pixels and got {image.shape[1]}×{image.shape[2]}"
            )
        return image

    def _stem(self, image: Float[Array, "b h w c"]) -> Float[Array, "b i j f"]:
        stem = Convolution(self.embedding_width, 7, 2, self.frozen_norm, name="stem")
        grid = ACTIVATIONS.get_known(self.activation)(stem(image))
        return nn.max_pool(grid, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

    def _block(self, name: str, features: int, stride: int) -> ResidualBlock:
        return ResidualBlock(
            features,
            self.block == "bottleneck",
            stride,
            self.stride_in_first,
            self.activation,
            self.frozen_norm,
            name=name,
        )

    def _embed(self, states: Float[Array, "b t f"], deterministic: bool) -> Float[Array, "b t d"]:
        states = Linear(self.width, axes=("patch", "embed"), name="projection")(states)
        init = kernel_init(None, "length", "embed")
        positions = self.param("positions", init, (1, states.shape[1], self.width))
        states = states + positions.astype(states.dtype)
        states = LayerNorm(BERT_EPSILON, name="norm")(states)
        return nn.Dropout(self.dropout)(states, deterministic=deterministic)
