"""BERT's masked language modelling head, tied to the word embeddings unless told otherwise."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Epsilon
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.activation import ACTIVATIONS, Activation
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear, kernel_init, zeros_init


@HEADS.register("mlm")
class MaskedTextHead(Head):
    """Float32 word logits [B, L, V] from text states [B, L, D] (Devlin et al. 2019, section 3.1).

    With `tied` off the output layer is a matrix of its own, of the word table's size (OSCAR's
    captioning).
    """

    epsilon: Epsilon = BERT_EPSILON
    activation: Activation = "gelu"
    tied: bool = True

    def of(
        self, model: Any, reading: Reading, *, deterministic: bool = True
    ) -> Float[Array, "b l v"]:
        """Reads the text after the fusion."""
        return self(reading.fused[0].text.states, model.text.word_table())

    @nn.compact
    def __call__(self, states: Array, word_table: Float[Array, "v d"]) -> Float[Array, "b l v"]:
        width = states.shape[-1]
        activate = ACTIVATIONS.get_known(self.activation)
        hidden = activate(Linear(width, axes=("embed", None), name="transform")(states))
        hidden = LayerNorm(self.epsilon, name="norm")(hidden)
        if not self.tied:
            shape = (word_table.shape[0], width)
            word_table = self.param("decoder", kernel_init("vocab", "embed"), shape)
        if word_table.shape[-1] != width:
            raise ValueError(
                f"head mlm is tied to word embeddings of width {word_table.shape[-1]} and cannot "
                f"read text states of width {width}"
            )
        table = word_table.astype(hidden.dtype)
        logits = jnp.einsum("bld,vd->blv", hidden, table, preferred_element_type=jnp.float32)
        return logits + self.param("bias", zeros_init("vocab"), (word_table.shape[0],))
