"""The contrastive loss alone, with its gradient, on a batch too large for one matrix."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.cli.measure.bench_ours import measured
from vlp_jax.cli.measure.bench_turns import Spread, by_turns
from vlp_jax.losses.contrastive import make_sides
from vlp_jax.losses.contrastive_forms import SoftmaxForm
from vlp_jax.losses.ring_contrastive import ring_loss
from vlp_jax.losses.similarity_blocks import Scale

_TEMPERATURE = 0.07


@dataclass(frozen=True)
class ContrastiveRow:
    """Seconds of the loss with its gradient; bytes beside its inputs and their gradients."""

    rows: int
    width: int
    dtype: str
    seconds: Spread
    temporary_bytes: int
    flops: float


def symmetric_loss(image: Float[Array, "b w"], text: Float[Array, "b w"]) -> Float[Array, ""]:
    """Returns the mean cross-entropy of each image among all texts, and the other way (CLIP)."""
    scale, ids = Scale(jnp.float32(_TEMPERATURE), jnp.zeros(())), jnp.arange(len(image))
    sides = make_sides((image, text), None, ids, None)
    return ring_loss(SoftmaxForm(), (), sides, None, scale, jnp.zeros(()))


def contrastive_row(rows: int, width: int, dtype: str, turns: int) -> ContrastiveRow:
    """Returns the row of a batch of unit vectors of that type on one device."""
    keys = jax.random.split(jax.random.key(0))
    unit = lambda key: (jax.random.normal(key, (rows, width)) / width**0.5).astype(dtype)
    inputs = tuple(map(unit, keys))
    found = measured(jax.value_and_grad(symmetric_loss, (0, 1)), *inputs)
    seconds = by_turns({"": found.program}, turns)[""]
    inputs_and_gradients = 2 * sum(x.nbytes for x in inputs)
    temporary = found.memory_bytes - inputs_and_gradients
    return ContrastiveRow(rows, width, dtype, Spread.of(seconds), temporary, found.flops)
