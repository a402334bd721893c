"""Single-stream fusion: one Transformer over the joined sequence (UNITER, VisualBERT, OSCAR)."""

import flax.linen as nn
from jaxtyping import Array, Bool

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.fusion import FUSIONS
from vlp_jax.fusion.fusion import Fusion
from vlp_jax.layers.activation import Activation
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.normalisation import BERT_EPSILON, LayerNorm
from vlp_jax.layers.projection import Linear
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Fused, Tokens


@FUSIONS.register("single_stream")
class SingleStreamFusion(Fusion):
    """`layers` BERT layers over text followed by image, with full self-attention.

    Images of another width are projected to the text's. `embedding_norm` normalises the joined
    embeddings with one shared layer norm (VisualBERT). `joint_mask` [B, T, T] says which joint
    position (row) sees which (column), for captioning as OSCAR does it; by default every position
    sees all real ones.
    """

    layers: Natural = 12
    heads: Count = 12
    mlp_width: Count = 3072
    embedding_norm: bool = False
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    epsilon: Epsilon = BERT_EPSILON
    activation: Activation = "gelu"
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    joint_attention = "layers/self_attention/attention"

    @nn.compact
    def __call__(
        self,
        image: Tokens,
        text: Tokens,
        *,
        joint_mask: Bool[Array, "b t t"] | None = None,
        deterministic: bool = True,
    ) -> Fused:
        joined = text.concatenate(self._as_wide_as(text, image))
        states = joined.states
        if self.embedding_norm:
            states = LayerNorm(self.epsilon, name="embedding_norm")(states)
            states = nn.Dropout(self.dropout)(states, deterministic=deterministic)
            self.sow("intermediates", "embedding", states)
        block = BertLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            activation=self.activation,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        mask = joined.mask if joint_mask is None else joint_mask
        states = stack(states, mask, deterministic=deterministic)
        words, regions = Tokens(states, joined.mask).split(text.states.shape[1])
        return Fused(image=regions, text=words)

    def _as_wide_as(self, text: Tokens, image: Tokens) -> Tokens:
        width = text.states.shape[-1]
        if image.states.shape[-1] == width:
            return image
        project = Linear(width, axes=("mlp", "embed"), name="image_projection")
        return Tokens(project(image.states), image.mask)
