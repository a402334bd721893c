"""One decision about two images and a text whose image-text pairs read each other (NLVR2)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Classes, Count, Fraction
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.attention import Attention, attention_bias
from vlp_jax.layers.projection import Linear
from vlp_jax.layers.tokens import Fused, Tokens


class AttentionPool(nn.Module):
    """The mean [B, D] of real tokens, weighted by the softmax of relu(w · state)."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, tokens: Tokens, *, deterministic: bool) -> Float[Array, "b d"]:
        scores = jax.nn.relu(Linear(1, axes=("embed", None), name="score")(tokens.states))
        bias = attention_bias(tokens.mask)[:, 0, 0]
        weights = jax.nn.softmax(scores[..., 0].astype(jnp.float32) + bias)
        weights = nn.Dropout(self.dropout)(weights, deterministic=deterministic)
        return jnp.einsum("bt,btd->bd", weights.astype(tokens.states.dtype), tokens.states)


@HEADS.register("paired_attention")
class PairedAttentionHead(Head):
    """Logits [B, classes] in float32 of a text fused with a first and with a second image.

    Each joined sequence attends to the other with its own weights; what it read and what it was are
    mapped back to one state, then pooled, both with shared weights (UNITER, section 4.2, NLVR2
    "Pair-biattn").
    """

    classes: Classes = 2
    heads: Count = 12
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1

    pictures = 2

    def of(self, model: Any, reading: Reading, *, deterministic: bool = True) -> Array:
        """Reads both pairs after the fusion."""
        return self(*reading.fused, deterministic=deterministic)

    @nn.compact
    def __call__(self, first: Fused, second: Fused, *, deterministic: bool = True) -> Array:
        sides = [pair.text.concatenate(pair.image) for pair in (first, second)]
        width = sides[0].states.shape[-1]
        join = Linear(width, axes=("embed", None), name="join")
        pool = AttentionPool(self.attention_dropout, name="pool")
        pooled = []
        for name, own, other in (("first", *sides), ("second", *reversed(sides))):
            attend = Attention(self.heads, dropout=self.attention_dropout, name=f"{name}_attention")
            read = attend(own.states, other.states, other.mask, deterministic=deterministic)
            self.sow("intermediates", f"{name}_read", read)
            joined = jax.nn.relu(join(jnp.concatenate([read, own.states], axis=-1)))
            joined = nn.Dropout(self.dropout)(joined, deterministic=deterministic)
            pooled.append(pool(Tokens(joined, own.mask), deterministic=deterministic))
            self.sow("intermediates", f"{name}_pooled", pooled[-1])
        output = Linear(self.classes, axes=("embed", None), output_dtype=jnp.float32, name="output")
        return output(jnp.concatenate(pooled, axis=-1))
