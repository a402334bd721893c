"""Heat maps: how much each word reads each part of the image."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.layers.tokens import Tokens
from vlp_jax.model.model import VisionLanguageModel


def heat_maps(
    model: VisionLanguageModel, params: Any, score: Callable, text: Tokens, image: Tokens
) -> Float[Array, "b l t"]:
    """Returns how much each text position reads each image token for a score.

    Gradients of `score(model, text, image)` [B] times attention, negative parts cut, averaged over
    heads, at the middle layer in which text reads the image (ALBEF, section 6.3 and appendix;
    Grad-CAM, Selvaraju et al. 2017).
    """
    variables = {"params": params}
    length = text.mask.shape[1]
    if length == image.mask.shape[1]:
        # Attention arrays are told apart by their shapes.
        text = jax.tree.map(lambda x: jnp.pad(x, [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2)), text)
    _, made = model.apply(
        variables, text, image, method=score, mutable=["perturbations", "intermediates"]
    )

    def total(perturbations: Any) -> Array:
        every = variables | {"perturbations": perturbations}
        return model.apply(every, text, image, method=score).sum()

    gradients = jax.grad(total)(made["perturbations"])
    shape = text.mask.shape[1], image.mask.shape[1]
    probabilities = _text_to_image(made["intermediates"], *shape)
    middle = (len(probabilities) - 1) // 2
    gradient = _text_to_image(gradients, *shape)[middle]
    return (probabilities[middle] * jax.nn.relu(gradient)).mean(axis=1)[:, :length]


def _text_to_image(tree: Any, texts: int, images: int) -> list[Array]:
    """Returns the attention arrays [B, H, L, T] of text positions over image tokens, by layer."""
    leaves = [(jax.tree_util.keystr(p), x) for p, x in jax.tree_util.tree_leaves_with_path(tree)]
    found = []
    for path, x in sorted(leaves, key=lambda leaf: _numbers_as_such(leaf[0])):
        if "probabilities" not in path:
            continue
        if x.shape[-2:] == (texts, images):
            found.append(x)
        elif x.shape[-2:] == (texts + images,) * 2:
            found.append(x[..., :texts, texts:])
    if not found:
        raise ValueError("no layer of this model's fusion lets text positions read image tokens")
    return found


def _numbers_as_such(path: str) -> list[tuple[int, str]]:
    """Returns a sort key that puts layer_2 before layer_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]
