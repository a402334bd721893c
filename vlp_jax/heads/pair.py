"""One decision about two images and a text, from the two pooled image-text pairs (NLVR2)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.heads import HEADS
from vlp_jax.heads.classifier import Classifier


@HEADS.register("pair_classifier")
class PairClassifier(Classifier):
    """A `Classifier` on the pooled vectors [B, D] of the text with each image, side by side.

    `hidden` is by default twice the joined width, thus 4·D; LXMERT's is 2·D.
    """

    pictures = 2

    def __call__(
        self, first: Float[Array, "b d"], second: Float[Array, "b d"], *, deterministic: bool = True
    ) -> Float[Array, "b c"]:
        joined = jnp.concatenate([first, second], axis=-1)
        return super().__call__(joined, deterministic=deterministic)
