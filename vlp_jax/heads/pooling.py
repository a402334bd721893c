"""Poolers: one vector for a fused image-text pair, in the form of each published model.

One that reads nothing but the first text token says so by `first_token_alone`.
"""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Fraction
from vlp_jax.heads import POOLERS
from vlp_jax.layers.projection import Linear
from vlp_jax.layers.tokens import Fused, Tokens


@POOLERS.register("first")
class FirstToken(nn.Module):
    """The text's [CLS] state as it is (ALBEF)."""

    first_token_alone: ClassVar[bool] = True

    def __call__(self, fused: Fused, *, deterministic: bool = True) -> Float[Array, "b d"]:
        return fused.text.states[:, 0]


@POOLERS.register("mean")
class MeanToken(nn.Module):
    """The mean of the real text tokens, each of which has read the image."""

    def __call__(self, fused: Fused, *, deterministic: bool = True) -> Float[Array, "b d"]:
        return fused.text.masked_mean()


@POOLERS.register("tanh")
class TanhPooler(nn.Module):
    """tanh(W · text [CLS]): BERT's pooler (UNITER, LXMERT, VisualBERT, OSCAR)."""

    first_token_alone: ClassVar[bool] = True

    @nn.compact
    def __call__(self, fused: Fused, *, deterministic: bool = True) -> Float[Array, "b d"]:
        first = fused.text.states[:, 0]
        return jnp.tanh(Linear(first.shape[-1], axes=("embed", None), name="dense")(first))


@POOLERS.register("product")
class ProductPooler(nn.Module):
    """relu(Wₜ · text [CLS]) ∘ relu(Wᵢ · image token 0): ViLBERT, section 3.2.

    `combine` = "sum" adds the two vectors instead of multiplying them; `pool` = "mean" takes the
    means over the real tokens instead of the first ones.
    """

    width: Count = 1024
    pool: Literal["first", "mean"] = "first"
    combine: Literal["product", "sum"] = "product"
    dropout: Fraction = 0.1

    @nn.compact
    def __call__(self, fused: Fused, *, deterministic: bool = True) -> Float[Array, "b d"]:
        def pooled(name: str, tokens: Tokens) -> Float[Array, "b d"]:
            dense = Linear(self.width, axes=("embed", None), name=name)
            vector = jax.nn.relu(dense(tokens.pooled(self.pool)))
            self.sow("intermediates", f"{name}_output", vector)
            return vector

        text, image = pooled("text", fused.text), pooled("image", fused.image)
        combined = text * image if self.combine == "product" else text + image
        return nn.Dropout(self.dropout)(combined, deterministic=deterministic)
