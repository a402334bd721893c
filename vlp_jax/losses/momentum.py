"""Momentum teacher and feature queues (He et al. 2020, MoCo; ALBEF sections 3.2 and 3.3)."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


@flax.struct.dataclass
class Queue:
    """The last N contrastive vectors of the teacher, as a ring.

    Attributes:
      image, text: float32 [N, W], unit vectors.
      ids: int32 [N], image ids, -100 where nothing real has been stored yet.
      pointer: int32 [], the next row to overwrite.
    """

    image: Float[Array, "n w"]
    text: Float[Array, "n w"]
    ids: Int[Array, "n"]
    pointer: Int[Array, ""]

    @classmethod
    def create(cls, key: Array, size: int, width: int) -> "Queue":
        """Returns a queue of random unit vectors, as ALBEF starts with."""
        draws = jax.random.normal(key, (2, size, width))
        image, text = draws / jnp.linalg.norm(draws, axis=-1, keepdims=True)
        return cls(image, text, jnp.full(size, -100, jnp.int32), jnp.zeros((), jnp.int32))

    def push(self, image: Array, text: Array, ids: Array) -> "Queue":
        """Overwrites the oldest rows; any batch size fits any queue size."""
        size = self.ids.shape[0]
        kept = min(size, ids.shape[0])
        skipped = ids.shape[0] - kept
        rows = (self.pointer + skipped + jnp.arange(kept)) % size
        return Queue(
            self.image.at[rows].set(image[skipped:]),
            self.text.at[rows].set(text[skipped:]),
            self.ids.at[rows].set(ids[skipped:]),
            (self.pointer + ids.shape[0]) % size,
        )


def update_teacher(teacher: Any, params: Any, momentum: float, key: Array | None = None) -> Any:
    """Returns momentum · teacher + (1 - momentum) · params, leaf by leaf in the teacher's types.

    What is kept in bfloat16 is rounded up or down at random, by `key`: most moves are smaller than
    half a unit of the last place, which rounding to the nearest would turn into none.
    """

    def moved(leaf: int, t: Array, p: Array) -> Array:
        exact = momentum * t.astype(jnp.float32) + (1.0 - momentum) * p
        if t.dtype != jnp.bfloat16:
            return exact
        return to_bfloat16_at_random(jax.random.fold_in(key, leaf), exact)

    leaves, tree = jax.tree.flatten(teacher)
    return jax.tree.unflatten(tree, map(moved, range(len(leaves)), leaves, jax.tree.leaves(params)))


def to_bfloat16_at_random(key: Array, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Rounds float32 to one of the two nearest bfloat16, so that the mean is x.

    bfloat16 is the upper half of float32; a random number added to the lower half carries into it
    as often as it has to.
    """
    noise = jax.random.bits(key, x.shape, jnp.uint16).astype(jnp.uint32)
    bits = jax.lax.bitcast_convert_type(x, jnp.uint32) + noise
    return jax.lax.bitcast_convert_type((bits >> 16).astype(jnp.uint16), jnp.bfloat16)
