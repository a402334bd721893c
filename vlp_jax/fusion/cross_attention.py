"""ALBEF's fusion: text layers that also read the image (Li et al. 2021, section 3.1)."""

from functools import partial

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from vlp_jax.config.ranges import Count, Epsilon, Fraction, Natural
from vlp_jax.fusion import FUSIONS
from vlp_jax.fusion.fusion import Fusion, SharedImage
from vlp_jax.layers.attention import Projected
from vlp_jax.layers.blocks import BertLayer
from vlp_jax.layers.normalisation import BERT_EPSILON
from vlp_jax.layers.projection import SplitHeads
from vlp_jax.layers.stack import Remat, ScanLayers, TransformerStack
from vlp_jax.layers.tokens import Fused, Tokens


@FUSIONS.register("cross_attention")
class CrossAttentionFusion(Fusion):
    """`layers` BERT layers on the text, each with cross-attention to the image; image unchanged."""

    layers: Natural = 6
    heads: Count = 12
    mlp_width: Count = 3072
    dropout: Fraction = 0.1
    attention_dropout: Fraction = 0.1
    epsilon: Epsilon = BERT_EPSILON
    scan_layers: ScanLayers = "auto"
    remat: Remat = "none"

    text_reads_image = ("layers/cross_attention/attention",)

    @property
    def shares_image(self) -> bool:
        """There has to be a layer that reads the image."""
        return self.layers > 0

    def share(self, image: Tokens) -> SharedImage:
        """Projects images for the texts of all passes, in every layer."""
        layers = nn.unbox(self.get_variable("params", "layers"))
        kernels = layers["cross_attention"]["attention"]

        def projected(name: str) -> Float[Array, "l b s h k"]:
            split = SplitHeads(self.heads, kernels[name]["kernel"].shape[-1], parent=None)
            return jax.vmap(lambda p: split.apply({"params": p}, image.states))(kernels[name])

        return SharedImage(image, Projected(projected("key"), projected("value")))

    @nn.compact
    def __call__(
        self,
        image: Tokens | SharedImage,
        text: Tokens,
        *,
        deterministic: bool = True,
        queries: int | None = None,
    ) -> Fused:
        block = BertLayer(
            self.heads,
            self.mlp_width,
            self.dropout,
            self.attention_dropout,
            self.epsilon,
            name="layers",
        )
        stack = TransformerStack(block, self.layers, self.scan_layers, self.remat)
        shared = isinstance(image, SharedImage)
        tokens, context = (image.tokens, image.context) if shared else (image, image.states)
        run = stack if queries is None else partial(stack.first_states, queries)
        inputs = text.mask, context, tokens.mask
        states = run(text.states, *inputs, deterministic=deterministic)
        return Fused(image=tokens, text=Tokens(states, text.mask[:, :queries]))
