"""Classifiers on the pooled vector: image-text matching, answers, entailment and the like."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Classes, Epsilon, Fraction, Natural
from vlp_jax.heads import HEADS
from vlp_jax.heads.head import Head
from vlp_jax.layers.activation import gelu
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear


@HEADS.register("itm")
class MatchingHead(Head):
    """Logits of an image-text pair; class `match_index` means that they belong together.

    There are two `classes` but for OSCAR+, which tells wrong tags from a wrong caption.
    """

    match_index: Literal[0, 1] = 1
    classes: Classes = 2

    @nn.compact
    def __call__(
        self, pooled: Float[Array, "b d"], *, deterministic: bool = True
    ) -> Float[Array, "b c"]:
        dense = Linear(self.classes, axes=("embed", None), output_dtype=jnp.float32, name="dense")
        return dense(pooled)


@HEADS.register("classifier")
@HEADS.register("vqa")
class Classifier(Head):
    """Logits [B, classes] in float32.

    `form` is "linear"; "mlp_norm": Linear, GELU, LN, Linear (UNITER, LXMERT, 12-in-1); "mlp_relu":
    Linear, ReLU, Linear (ALBEF, OSCAR); or "mlp_relu_norm": Linear, ReLU, LN, Linear (OSCAR+).
    `hidden` is the inner width, by default twice (mlp_norm) or once the width of what is read.
    `classes` = 0 stands for as many as the data has answers.
    """

    classes: Natural = 0
    form: Literal["linear", "mlp_norm", "mlp_relu", "mlp_relu_norm"] = "mlp_norm"
    hidden: Natural = 0
    dropout: Fraction = 0.0
    epsilon: Epsilon = BERT_EPSILON

    sized_by = {"class": "classes"}

    @nn.compact
    def __call__(self, pooled: Float[Array, "b d"], *, deterministic: bool = True):
        hidden = nn.Dropout(self.dropout)(pooled, deterministic=deterministic)
        if self.form == "mlp_norm":
            hidden = gelu(self._dense("hidden", self.hidden or 2 * pooled.shape[-1])(hidden))
            hidden = LayerNorm(self.epsilon, name="norm")(hidden)
        elif self.form.startswith("mlp_relu"):
            hidden = jax.nn.relu(self._dense("hidden", self.hidden or pooled.shape[-1])(hidden))
            if self.form == "mlp_relu_norm":
                hidden = LayerNorm(self.epsilon, name="norm")(hidden)
        output = Linear(self.classes, axes=("mlp", None), output_dtype=jnp.float32, name="output")
        return output(hidden)

    def _dense(self, name: str, width: int) -> Linear:
        return Linear(width, axes=("embed", "mlp"), name=name)
