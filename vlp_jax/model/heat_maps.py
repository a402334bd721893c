"""Heat maps: where in the image each text position looks, by attention or its gradient."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.layers.attention import ATTENTION, ATTENTION_SHIFT, PROBABILITIES
from vlp_jax.layers.tokens import Tokens

Score = Callable[[nn.Module, Tokens, Tokens], Float[Array, "b"]]


def heat_maps(
    model: nn.Module,
    params: Any,
    score: Score,
    image: Tokens,
    text: Tokens,
    layer: int | None = None,
) -> Float[Array, "b l t"]:
    """Returns how much each text position reads each image token to raise the score.

    Gradients of the score times attention, negative parts cut, averaged over heads, at one layer
    in which text reads the image (ALBEF, section 6.3 and appendix; Grad-CAM, Selvaraju et al.
    2017). Where both are one stream, it is text over image in their joint attention.

    Args:
      model, params: a model whose fusion says where text reads the image.
      score: (model, image, text) -> [B], a method of the model to differentiate.
      image, text: encoded.
      layer: which of the layers in which text reads the image, from 0; the middle one by default,
        the third of ALBEF's six.

    Raises:
      ValueError: if no layer of the fusion lets text read the image, or there is no such layer.
    """

    def total(shift: Any) -> tuple[Array, Any]:
        variables = {"params": params, ATTENTION_SHIFT: shift}
        scores, made = model.apply(variables, image, text, method=score, mutable=[ATTENTION])
        return scores.sum(), made[ATTENTION]

    plain = lambda: model.apply({"params": params}, image, text, method=score, mutable=[ATTENTION])
    shapes = jax.eval_shape(plain)[1].get(ATTENTION, {})
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    gradients, probabilities = jax.grad(total, has_aux=True)(zeros)
    read = lambda tree: text_over_image(model.fusion, tree.get("fusion", {}), text.mask.shape[1])
    kept, slopes = (_layer(read(tree), layer) for tree in (probabilities, gradients))
    return (kept * jax.nn.relu(slopes)).mean(axis=1)


def attention_maps(
    model: nn.Module, params: Any, image: Tokens, text: Tokens, layer: int | None = None
) -> Float[Array, "b l t"]:
    """Returns the attention itself at the layer of `heat_maps`, averaged over heads."""
    fuse = lambda model, *pair: model.fuse(*pair)
    _, made = model.apply({"params": params}, image, text, method=fuse, mutable=[ATTENTION])
    fusion = made.get(ATTENTION, {}).get("fusion", {})
    return _layer(text_over_image(model.fusion, fusion, text.mask.shape[1]), layer).mean(axis=1)


def _layer(layers: Float[Array, "n b h l t"], layer: int | None) -> Float[Array, "b h l t"]:
    """Returns one of the layers, by default the middle one."""
    chosen = (len(layers) - 1) // 2 if layer is None else layer
    if not 0 <= chosen < len(layers):
        raise ValueError(
            f"layer is {layer}; text reads the image in {len(layers)} layer(s): expected 0 to "
            f"{len(layers) - 1}"
        )
    return layers[chosen]


def text_over_image(fusion: nn.Module, made: Any, length: int) -> Float[Array, "n b h l t"]:
    """Returns the attention of text positions over image tokens, layer by layer.

    A fusion says where this is: `text_reads_image` has the paths of attention of text over image,
    whose first call it is, and `joint_attention` that of text followed by image.

    Args:
      made: what explain mode gave for the fusion, with layers stacked.
      length: number of text positions.
    """
    found = [_at(made, path) for path in fusion.text_reads_image]
    if fusion.joint_attention:
        found = [_at(made, fusion.joint_attention)[..., :length, length:]]
    if not found or not sum(map(len, found)):
        raise ValueError("no layer of this model's fusion lets text positions read image tokens")
    return jnp.concatenate(found)


def _at(tree: Any, path: str) -> Array:
    """Returns the array at a path, of the first call if there were several; empty if none."""
    for name in (*path.split("/"), PROBABILITIES):
        tree = tree.get(name, {})
    return tree[0] if tree else jnp.zeros((0, 0))
