"""What the words of a text read in a picture: functions of views, for reports and for `explain`."""

import math
from collections.abc import Sequence
from functools import partial

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.optimal_transport import transport_cost, transport_plan
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.model.heat_maps import attention_maps, heat_maps
from vlp_jax.tasks.matching import HEAD, match_logit

_FIRST_TOKENS = 2  # most that stand before the patches: [CLS], and DeiT's second one


def gradcam(views: Views, head: str = HEAD, layer: int | None = None) -> Float[Array, "b l t"]:
    """Returns how much each text position reads each image token to find that both match.

    `head` is that which says so; see `vlp_jax.model.heat_maps`.
    """
    score = partial(_score, head=head)
    return heat_maps(views.model, views.params, score, views.image(), views.text(), layer)


def _score(
    model: VisionLanguageModel, image: Tokens, text: Tokens, *, head: str
) -> Float[Array, "b"]:
    return match_logit(model, head, model.fuse(image, text))


def attention(views: Views, layer: int | None = None) -> Float[Array, "b l t"]:
    """Returns the attention of each text position to each image token, the mean over heads."""
    return attention_maps(views.model, views.params, views.image(), views.text(), layer)


def alignment(views: Views) -> Float[Array, "b l t"]:
    """Returns which share of each text position goes to each image token in optimal transport.

    A row sums to 1. Source: UNITER (Chen et al. 2020), section 3.2 and figure 4; the plan is that
    of the task `alignment` with its published settings.
    """
    fused = views.fused()
    cost = transport_cost(fused.text, fused.image)
    plan = transport_plan(cost, fused.text.mask, fused.image.mask)
    sent = plan.sum(-1, keepdims=True)
    return plan / jnp.where(sent > 0, sent, 1.0)


def by_word(
    maps: Float[np.ndarray, "l t"], words: Sequence[tuple[str, slice]]
) -> tuple[tuple[str, ...], Float[np.ndarray, "w t"]]:
    """Returns words and one map each, the mean over the positions of its pieces."""
    means = [maps[positions].mean(0) for _, positions in words]
    return tuple(word for word, _ in words), np.reshape(means, (-1, maps.shape[-1]))


def grid_side(tokens: int) -> int | None:
    """Returns the patches along one side of a picture of so many tokens; None if it is no square.

    Tokens of the whole picture, such as [CLS], stand before those of the patches.
    """
    side = math.isqrt(tokens)
    return None if tokens - side * side > _FIRST_TOKENS else side


def on_grid(maps: Float[np.ndarray, "w t"]) -> Float[np.ndarray, "w r c"]:
    """Returns maps over image tokens, which form a square, as rows and columns of patches."""
    side = grid_side(maps.shape[-1])
    return maps[:, -side * side :].reshape(-1, side, side)
