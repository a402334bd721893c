"""Word-region alignment: the cost of moving the words of a text onto the regions of its image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from vlp_jax.heads.contrastive import l2_normalise
from vlp_jax.layers.tokens import Tokens

_LEAST_NORM = 1e-5
# Added to the denominators of padded entries, so that their weights vanish.
_PADDED = 1e4


def transport_distance(
    text: Tokens, image: Tokens, beta: float = 0.5, iterations: int = 50, inner: int = 1
) -> Float[Array, " b"]:
    """Returns the optimal transport distance [B] between the real tokens of text and image.

    The cost of a word and a region is one minus their cosine; every word has the same mass, and so
    has every region. The plan is found by inexact proximal steps and passes no gradient. Source:
    UNITER (Chen et al. 2020), section 3.2, with IPOT (Xie et al. 2020), algorithm 1.

    Args:
      text, image: fused tokens of one width.
      beta: weight of the proximal term.
      iterations: proximal steps.
      inner: scalings of rows and columns in each of them.
    """
    cost = transport_cost(text, image)
    fixed = jax.lax.stop_gradient(cost)
    plan = transport_plan(fixed, text.mask, image.mask, beta, iterations, inner)
    return (cost * jax.lax.stop_gradient(plan)).sum((1, 2))


def transport_cost(text: Tokens, image: Tokens) -> Float[Array, "b m n"]:
    """Returns one minus the cosine of each word and region; zero where one of them is padding."""
    both = text.mask[:, :, None] & image.mask[:, None, :]
    words, regions = (l2_normalise(x.states, _LEAST_NORM) for x in (text, image))
    cosine = jnp.einsum("bmd,bnd->bmn", words, regions)
    return jnp.where(both, 1 - cosine, 0.0)


def transport_plan(
    cost: Float[Array, "b m n"],
    rows: Bool[Array, "b m"],
    columns: Bool[Array, "b n"],
    beta: float = 0.5,
    iterations: int = 50,
    inner: int = 1,
) -> Float[Array, "b m n"]:
    """Returns how much mass goes from each real row to each real column; padding gets none."""
    both = rows[:, :, None] & columns[:, None, :]
    row_count, column_count = rows.sum(1, keepdims=True), columns.sum(1, keepdims=True)
    row_padding, column_padding = _PADDED * ~rows, _PADDED * ~columns
    kernel = jnp.where(both, jnp.exp(-cost / beta), 0.0)

    def step(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        plan, row_scale = state
        weights = kernel * plan
        for _ in range(inner):
            reached = jnp.einsum("bmn,bm->bn", weights, row_scale)
            column_scale = 1 / (column_count * reached + column_padding)
            sent = jnp.einsum("bmn,bn->bm", weights, column_scale)
            row_scale = 1 / (row_count * sent + row_padding)
        return row_scale[:, :, None] * weights * column_scale[:, None, :], row_scale

    start = both.astype(jnp.float32), jnp.where(rows, 1 / row_count, 0.0)
    plan, _ = jax.lax.fori_loop(0, iterations, step, start)
    return jnp.where(both, plan, 0.0)


def alignment_loss(distance: Float[Array, "b"], matched: Bool[Array, "b"]) -> Float[Array, ""]:
    """Returns (Σ distance of matched pairs - Σ distance of the others) / number of pairs.

    Mismatched pairs are pushed apart without bound, as in `pretrain.py` of ChenRocks/UNITER; the
    paper has the first sum alone.
    """
    return jnp.where(matched, distance, -distance).mean()
