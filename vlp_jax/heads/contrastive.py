"""Contrastive projections of the two encoders into one space (ALBEF section 3.2, ITC)."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Finite, Positive
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.projection import Linear
from vlp_jax.layers.tokens import Tokens


def l2_normalise(x: Float[Array, "*b d"], least: float = 1e-12) -> Float[Array, "*b d"]:
    """Returns vectors of unit length, in float32; those shorter than `least` are divided by it.

    So a zero vector stays zero. Its gradient is finite, because no root is differentiated there.
    """
    x = x.astype(jnp.float32)
    squared = jnp.square(x).sum(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squared, least**2))


@HEADS.register("itc")
class ContrastiveHead(Head):
    """Unit vectors [B, width] of an image and of a text, and the learned temperature.

    `bias`, where given, starts a learned bias of the logits (similarity / temperature + bias). The
    sigmoid form of the objective needs it; SigLIP starts with -10 and a temperature of 0.1.
    `image_pool` and `text_pool` are "first" ([CLS]) or "mean" (over the real tokens: for regions,
    which have no [CLS], and for short runs, in which [CLS] does not learn where to look).
    """

    width: Count = 256
    temperature: Positive = 0.07
    bias: Finite | None = None
    image_pool: Literal["first", "mean"] = "first"
    text_pool: Literal["first", "mean"] = "first"

    def setup(self) -> None:
        self.image_projection = Linear(self.width, axes=("embed", None))
        self.text_projection = Linear(self.width, axes=("embed", None))
        init = nn.initializers.constant(self.temperature)
        self.learned_temperature = self.param("temperature", init, ())
        if self.bias is not None:
            self.learned_bias = self.param("bias", nn.initializers.constant(self.bias), ())

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> tuple[Array, Array, Array]:
        """Reads both streams before the fusion."""
        return self(reading.images[0], reading.texts[0])

    def __call__(self, image: Tokens, text: Tokens) -> tuple[Array, Array, Array]:
        return self.image(image), self.text(text), self.learned_temperature

    def image(self, tokens: Tokens) -> Float[Array, "b w"]:
        """Returns the unit vector of each image."""
        return l2_normalise(self.image_projection(tokens.pooled(self.image_pool)))

    def text(self, tokens: Tokens) -> Float[Array, "b w"]:
        """Returns the unit vector of each text."""
        return l2_normalise(self.text_projection(tokens.pooled(self.text_pool)))
