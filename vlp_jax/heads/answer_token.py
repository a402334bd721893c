"""Pooler that reads the answer where the text asks for it: at its last token but one."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.heads import POOLERS
from vlp_jax.heads.pooling import TanhPooler
from vlp_jax.layers.tokens import Fused


def answer_position(mask: Bool[Array, "b l"]) -> Int[Array, " b"]:
    """Returns the position of the last real token but one: of [MASK] in "… ? [MASK] [SEP]"."""
    return jnp.maximum(mask.sum(-1, dtype=jnp.int32) - 2, 0)


@POOLERS.register("answer_token")
class AnswerTokenPooler(nn.Module):
    """The state at the text's last token but one (VisualBERT, VQA).

    Published files also hold the weights of the pooler on [CLS], which no answer depends on; its
    vector is sown as `first_token_vector`.
    """

    def setup(self) -> None:
        self.first_token = TanhPooler()

    def __call__(self, fused: Fused, *, deterministic: bool = True) -> Float[Array, "b d"]:
        self.sow("intermediates", "first_token_vector", self.first_token(fused))
        position = answer_position(fused.text.mask)[:, None, None]
        return jnp.take_along_axis(fused.text.states, position, axis=1)[:, 0]
