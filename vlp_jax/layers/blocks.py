"""Transformer blocks: BERT's (normalised after each sub-block) and ViT's (normalised before).

Masks are boolean, of keys [B, S] or of pairs [B, T, S]; None where every key counts. What a layer
returns is sown as `output`.
"""

import flax.linen as nn
from jaxtyping import Array, Float

from vlp_jax.layers.activation import ACTIVATIONS, gelu
from vlp_jax.layers.attention import Attention
from vlp_jax.layers.normalisation import BERT_EPSILON, VIT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear


class PostNormAttention(nn.Module):
    """LN(states + dropout(attention(states, context))): BERT's attention sub-block."""

    heads: int
    inner: int | None = None
    dropout: float = 0.0
    attention_dropout: float = 0.0
    epsilon: float = BERT_EPSILON
    key_projection: nn.Module | None = None
    value_projection: nn.Module | None = None

    @nn.compact
    def __call__(
        self, states, context, mask, *, position=None, deterministic: bool
    ) -> Float[Array, "b t d"]:
        attended = Attention(
            self.heads,
            inner=self.inner,
            dropout=self.attention_dropout,
            key_projection=self.key_projection,
            value_projection=self.value_projection,
            name="attention",
        )(states, context, mask, position=position, deterministic=deterministic)
        attended = nn.Dropout(self.dropout)(attended, deterministic=deterministic)
        return LayerNorm(self.epsilon, name="norm")(states + attended)


class PostNormFeedForward(nn.Module):
    """LN(states + dropout(W₂ gelu(W₁ states))): BERT's feed-forward sub-block."""

    width: int
    dropout: float = 0.0
    epsilon: float = BERT_EPSILON
    activation: str = "gelu"

    @nn.compact
    def __call__(self, states, *, deterministic: bool) -> Float[Array, "b t d"]:
        activate = ACTIVATIONS.get_known(self.activation)
        hidden = activate(Linear(self.width, name="expand")(states))
        contract = Linear(states.shape[-1], axes=("mlp", "embed"), name="contract")
        dropped = nn.Dropout(self.dropout)(contract(hidden), deterministic=deterministic)
        return LayerNorm(self.epsilon, name="norm")(states + dropped)


class BertLayer(nn.Module):
    """Self-attention, cross-attention if a context is given, and a feed-forward sub-block.

    Of N texts and B contexts each context is read by N / B texts, which are next to each other.
    `position` is that of the states in a text that is written word by word, see `Attention`.
    Source: BERT (Devlin et al. 2019); the place of the cross-attention is ALBEF's (section 3.1).
    """

    heads: int
    mlp_width: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    epsilon: float = BERT_EPSILON
    key_projection: nn.Module | None = None
    value_projection: nn.Module | None = None
    activation: str = "gelu"

    @nn.compact
    def __call__(
        self, states, mask, context=None, context_mask=None, position=None, *, deterministic: bool
    ):
        shared = dict(
            heads=self.heads,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            epsilon=self.epsilon,
        )
        attend = PostNormAttention(**shared, name="self_attention")
        states = attend(states, states, mask, position=position, deterministic=deterministic)
        if context is not None:
            read = PostNormAttention(
                **shared,
                key_projection=self.key_projection,
                value_projection=self.value_projection,
                name="cross_attention",
            )
            joined = _by_context(states, context.shape[0])
            joined = read(joined, context, context_mask, deterministic=deterministic)
            states = joined.reshape(states.shape)
        transform = PostNormFeedForward(
            self.mlp_width, self.dropout, self.epsilon, self.activation, name="feed_forward"
        )
        states = transform(states, deterministic=deterministic)
        self.sow("intermediates", "output", states)
        return states


def _by_context(states: Float[Array, "n t d"], contexts: int) -> Float[Array, "b kt d"]:
    """Joins the texts of each context to one."""
    texts, length, width = states.shape
    return states.reshape(contexts, texts // contexts * length, width)


class ViTBlock(nn.Module):
    """x + attention(LN(x)), then x + W₂ gelu(W₁ LN(x)): Dosovitskiy et al. 2021, equations 2-3."""

    heads: int
    mlp_width: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    epsilon: float = VIT_EPSILON

    @nn.compact
    def __call__(self, states, mask, *, deterministic: bool) -> Float[Array, "b t d"]:
        drop = nn.Dropout(self.dropout)
        normed = LayerNorm(self.epsilon, name="attention_norm")(states)
        attention = Attention(self.heads, dropout=self.attention_dropout, name="attention")
        attended = attention(normed, normed, mask, deterministic=deterministic)
        states = states + drop(attended, deterministic=deterministic)
        normed = LayerNorm(self.epsilon, name="feed_forward_norm")(states)
        hidden = gelu(Linear(self.mlp_width, name="expand")(normed))
        contract = Linear(states.shape[-1], axes=("mlp", "embed"), name="contract")
        states = states + drop(contract(hidden), deterministic=deterministic)
        self.sow("intermediates", "output", states)
        return states
