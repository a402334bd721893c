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


def update_teacher(teacher: Any, params: Any, momentum: float) -> Any:
    """Returns momentum · teacher + (1 - momentum) · params, leaf by leaf."""
    return jax.tree.map(lambda t, p: momentum * t + (1.0 - momentum) * p, teacher, params)
