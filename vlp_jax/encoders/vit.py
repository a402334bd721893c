"""Vision Transformer over square patches (Dosovitskiy et al. 2021), as ALBEF uses it."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Epsilon, Finite, Fraction, Natural, NonNegative, Positive
from vlp_jax.encoders import VISION_ENCODERS
from vlp_jax.encoders.encoder import VisionEncoder
from vlp_jax.layers.activation import gelu
from vlp_jax.layers.blocks import ViTBlock
from vlp_jax.layers.normalisation import VIT_EPSILON, LayerNorm
from vlp_jax.layers.projection import INITIAL_STD, Linear, kernel_init
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Tokens

# The statistics of CLIP's training images (Radford et al. 2021), used by ALBEF as well.
PIXEL_MEAN = (0.48145466, 0.4578275, 0.40821073)
PIXEL_STD = (0.26862954, 0.26130258, 0.27577711)


def normalise_pixels(image: Array, mean: tuple, std: tuple) -> Float[Array, "b h w c"]:
    """Scales uint8 pixels to zero mean and unit deviation; float images pass as they are."""
    if image.dtype != jnp.uint8:
        return image.astype(jnp.float32)
    return (image.astype(jnp.float32) / 255.0 - jnp.asarray(mean)) / jnp.asarray(std)


def patchify(image: Float[Array, "b h w c"], patch: int) -> Float[Array, "b t p"]:
    """Cuts an image into patch × patch squares in row-major order, pixels row by row."""
    batch, height, width, channels = image.shape
    rows, columns = height // patch, width // patch
    grid = image.reshape(batch, rows, patch, columns, patch, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)


@VISION_ENCODERS.register("vit")
class ViT(VisionEncoder):
    """Encodes `image` [B, H, W, 3] (uint8, or float already normalised) to [CLS] and patch tokens.

    With `stem_width` > 0 two strided convolutions replace the linear patch embedding, which helps
    small models that train briefly (Xiao et al. 2021, "Early convolutions help transformers").
    `patch_norm` normalises patch embeddings before positions are added to them, as Dual PatchNorm
    does (Kumar et al. 2023), which keeps positions of deviation `position_std` in sight.
    `distilled` adds a second learned token after [CLS] (DeiT, Touvron et al. 2021, section 4).
    """

    image_size: Count = 256
    patch_size: Count = 16
    width: Count = 768
    layers: Natural = 12
    heads: Count = 12
    mlp_width: Count = 3072
    stem_width: Natural = 0
    patch_norm: bool = False
    position_std: NonNegative = INITIAL_STD
    distilled: bool = False
    dropout: Fraction = 0.0
    attention_dropout: Fraction = 0.0
    epsilon: Epsilon = VIT_EPSILON
    pixel_mean: tuple[Finite, Finite, Finite] = PIXEL_MEAN
    pixel_std: tuple[Positive, Positive, Positive] = PIXEL_STD
    dtype: str = "float32"
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    @property
    def tokens(self) -> int:
        """Number of output tokens, those before the patches included."""
        return (self.image_size // self.patch_size) ** 2 + len(self._first_tokens())

    @nn.compact
    def __call__(self, batch: dict, *, deterministic: bool = True) -> Tokens:
        image = self._checked(batch["image"])
        image = normalise_pixels(image, self.pixel_mean, self.pixel_std).astype(self.dtype)
        block = ViTBlock(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        states = stack(self._embed(image), None, deterministic=deterministic)
        mask = jnp.ones(states.shape[:2], bool)
        return Tokens(LayerNorm(self.epsilon, name="norm")(states), mask)

    def _checked(self, image: Array) -> Array:
        if image.shape[1:3] != (self.image_size, self.image_size):
            raise ValueError(
                f"the vision encoder was built for images of {self.image_size}×{self.image_size} "
                f"pixels and got {image.shape[1]}×{image.shape[2]}"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.stem_width and self.patch_size % 4:
            raise ValueError(
                f"patch_size {self.patch_size} is not a multiple of 4, by which the convolutions "
                f"of stem_width {self.stem_width} shrink the image"
            )
        return image

    def _embed(self, image: Float[Array, "b h w c"]) -> Float[Array, "b t d"]:
        if self.stem_width:
            image = self._stem(image)
        patch = self.patch_size // (4 if self.stem_width else 1)
        patches = patchify(image, patch)
        embed = Linear(self.width, axes=("patch", "embed"), name="patch_embedding")
        batch, count = patches.shape[:2]
        names, init = self._first_tokens(), kernel_init(None, None, "embed")
        first = [self.param(name, init, (1, 1, self.width)) for name in names]
        first = jnp.concatenate(first, axis=1).astype(patches.dtype)
        first = jnp.broadcast_to(first, (batch, len(names), self.width))
        embedded = embed(patches)
        if self.patch_norm:
            embedded = LayerNorm(self.epsilon, name="patch_norm")(embedded)
        states = jnp.concatenate([first, embedded], axis=1)
        positions = self.param(
            "positions",
            kernel_init(None, "length", "embed", std=self.position_std),
            (1, count + len(names), self.width),
        )
        return states + positions.astype(states.dtype)

    def _first_tokens(self) -> tuple[str, ...]:
        return ("class_token", "distillation_token") if self.distilled else ("class_token",)

    def _stem(self, image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        for i in range(2):
            width = self.stem_width * (i + 1)
            init = nn.with_logical_partitioning(
                nn.initializers.he_normal(), (None, None, None, "embed")
            )
            conv = nn.Conv(
                width, (3, 3), strides=2, kernel_init=init, dtype=image.dtype, name=f"stem_{i}"
            )
            image = gelu(conv(image))
        return image
