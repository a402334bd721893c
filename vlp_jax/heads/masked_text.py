"""BERT's masked language modelling head, tied to the word embeddings."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.heads import HEADS
from vlp_jax.layers.blocks import gelu
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear, zeros_init


@HEADS.register("mlm")
class MaskedTextHead(nn.Module):
    """Word logits [B, L, V] in float32 from text states [B, L, D] (Devlin et al. 2019, section 3.1)."""

    epsilon: float = BERT_EPSILON

    reads = ("text_states", "word_table")

    @nn.compact
    def __call__(self, states: Array, word_table: Float[Array, "v d"]) -> Float[Array, "b l v"]:
        width = states.shape[-1]
        hidden = gelu(Linear(width, axes=("embed", None), name="transform")(states))
        hidden = LayerNorm(self.epsilon, name="norm")(hidden)
        if word_table.shape[-1] != width:
            raise ValueError(
                f"head mlm is tied to word embeddings of width {word_table.shape[-1]} and cannot "
                f"read text states of width {width}"
            )
        logits = jnp.einsum("bld,vd->blv", hidden, word_table.astype(hidden.dtype))
        bias = self.param("bias", zeros_init("vocab"), (word_table.shape[0],))
        return logits.astype(jnp.float32) + bias
