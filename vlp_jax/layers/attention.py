"""Multi-head attention for one or two sequences, with boolean masks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.layers.projection import MergeHeads, SplitHeads

# Finite, as in every published model: with -inf a fully masked row would be NaN.
MASKED_SCORE = -1e4


def attention_bias(mask: Bool[Array, "b s"] | Bool[Array, "b t s"]) -> Float[Array, "b 1 t s"]:
    """Turns a key mask [B, S], or a query-key mask [B, T, S], into additive scores."""
    mask = mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]
    return jnp.where(mask, 0.0, MASKED_SCORE).astype(jnp.float32)


def head_size(width: int, heads: int) -> int:
    """Returns width / heads; a width that the heads do not divide is an error."""
    if heads < 1 or width % heads:
        raise ValueError(f"width {width} cannot be split over {heads} attention heads")
    return width // heads


class Attention(nn.Module):
    """Scaled dot-product attention (Vaswani et al. 2017, section 3.2).

    Queries are [B, T, D], keys and values are projected from `context` [B, S, E]; the result is
    [B, T, features] (D by default). Softmax runs in float32. The probabilities [B, H, T, S] are
    sown as `probabilities` and can be perturbed, which is how heat maps read them.

    `key_projection` and `value_projection` may be given to share them with another layer.
    """

    heads: int
    features: int | None = None
    inner: int | None = None
    dropout: float = 0.0
    key_projection: nn.Module | None = None
    value_projection: nn.Module | None = None

    @nn.compact
    def __call__(self, states, context, bias, *, deterministic: bool) -> Float[Array, "b t d"]:
        head_dim = head_size(self.inner or states.shape[-1], self.heads)
        split = lambda name: SplitHeads(self.heads, head_dim, name=name)
        query = split("query")(states)
        key = (self.key_projection or split("key"))(context)
        value = (self.value_projection or split("value"))(context)
        scores = jnp.einsum("bthk,bshk->bhts", query, key).astype(jnp.float32)
        probabilities = jax.nn.softmax(scores / jnp.sqrt(float(head_dim)) + bias)
        # By shape, because a layer that two streams share reads in both directions.
        probabilities = self.perturb(f"probabilities_{scores.shape[2:]}", probabilities)
        self.sow("intermediates", "probabilities", probabilities)
        dropped = nn.Dropout(self.dropout)(probabilities, deterministic=deterministic)
        mixed = jnp.einsum("bhts,bshk->bthk", dropped.astype(value.dtype), value)
        return MergeHeads(self.features or states.shape[-1], name="output")(mixed)
