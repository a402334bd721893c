"""Blocks of a contrastive similarity matrix: some rows, some columns, and what belongs together."""

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# Added to the logits of columns that do not exist; finite, so that 0 · logit stays 0.
ABSENT = -1e30


@flax.struct.dataclass
class Rows:
    """What is compared: vectors [n, w], the teacher's vectors or None, and image ids [n]."""

    vectors: Float[Array, "n w"]
    taught: Float[Array, "n w"] | None
    ids: Int[Array, "n"]


@flax.struct.dataclass
class Columns:
    """What rows are compared with; `share` [m] says how much each counts, 0 = does not exist."""

    vectors: Float[Array, "m w"]
    taught: Float[Array, "m w"] | None
    ids: Int[Array, "m"]
    share: Float[Array, "m"]

    def followed_by(self, more: "Columns | None") -> "Columns":
        """Returns these columns with more behind them."""
        return self if more is None else jax.tree.map(lambda *x: jnp.concatenate(x), self, more)


@flax.struct.dataclass
class Scale:
    """How similarities become logits: similarity / temperature + bias."""

    temperature: Float[Array, ""]
    bias: Float[Array, ""]

    def logits(self, a: Float[Array, "n w"], b: Float[Array, "m w"]) -> Float[Array, "n m"]:
        """Returns the scaled similarities of unit vectors."""
        return a @ b.T / self.temperature + self.bias


@flax.struct.dataclass
class Block:
    """Logits [n, m] of rows against columns, the teacher's or None, and which are positives."""

    logits: Float[Array, "n m"]
    taught: Float[Array, "n m"] | None
    same: Bool[Array, "n m"]
    share: Float[Array, "m"]

    @property
    def positives(self) -> Float[Array, "n m"]:
        """How much each column counts as a positive of each row: its share, or zero."""
        return self.same * self.share


def compare(rows: Rows, columns: Columns, scale: Scale) -> Block:
    """Returns the block of these rows and columns; the teacher's logits pass no gradient.

    Positives are the columns of the same image, in the batch or from a queue.
    """
    taught = None
    if rows.taught is not None:
        taught = jax.lax.stop_gradient(scale.logits(rows.taught, columns.taught))
    same = (rows.ids[:, None] == columns.ids[None]) & (columns.share > 0)
    return Block(scale.logits(rows.vectors, columns.vectors), taught, same, columns.share)
