"""Blocks of a contrastive similarity matrix: some rows, some columns, and what belongs together."""

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


@flax.struct.dataclass
class Side:
    """The images or the texts of some pairs: vectors [n, w] and image ids [n], to be compared.

    `taught` are the teacher's vectors or None. `fresh` are those that the other side is compared
    with where these are not its own `vectors`; they get no gradient.
    """

    vectors: Float[Array, "n w"]
    taught: Float[Array, "n w"] | None
    ids: Int[Array, "n"]
    fresh: Float[Array, "n w"] | None = None

    @property
    def columns(self) -> "Columns":
        """What the other side is compared with; each counts as one."""
        seen = self.vectors if self.fresh is None else jax.lax.stop_gradient(self.fresh)
        return Columns(seen, self.taught, self.ids, jnp.ones(len(self.ids)))


@flax.struct.dataclass
class Columns:
    """What a side is compared with; `share` [m], above 0, says how much each counts."""

    vectors: Float[Array, "m w"]
    taught: Float[Array, "m w"] | None
    ids: Int[Array, "m"]
    share: Float[Array, "m"]


@flax.struct.dataclass
class Scale:
    """How similarities become logits: similarity / temperature + bias."""

    temperature: Float[Array, ""]
    bias: Float[Array, ""]

    def logits(self, a: Float[Array, "n w"], b: Float[Array, "m w"]) -> Float[Array, "n m"]:
        """Returns the scaled similarities of unit vectors, in float32 or what is wider."""
        return similarities(a, b) / self.temperature + self.bias


def similarities(a: Float[Array, "n w"], b: Float[Array, "m w"]) -> Float[Array, "n m"]:
    """Returns a · bᵀ, of vectors of 16 bits in float32.

    Their gradients are products of 16 bits, too, and rounded to it; there is no forward mode.
    """
    return a @ b.T if a.dtype.itemsize > 2 else _of_short(a, b.astype(a.dtype))


@jax.custom_vjp
def _of_short(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b.T, preferred_element_type=jnp.float32)


def _of_short_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array, Array]:
    a, b = kept
    slope, wide = slope.astype(a.dtype), dict(preferred_element_type=jnp.float32)
    to_both = jnp.matmul(slope, b, **wide), jnp.matmul(slope.T, a, **wide)
    return tuple(x.astype(a.dtype) for x in to_both)


_of_short.defvjp(lambda a, b: (_of_short(a, b), (a, b)), _of_short_backward)


@flax.struct.dataclass
class Block:
    """Logits [n, m] of rows against columns, the teacher's or None, and which are positives.

    With `axis` = 0, the axis that columns are on, all matrices are [m, n].
    """

    logits: Float[Array, "n m"]
    taught: Float[Array, "n m"] | None
    same: Bool[Array, "n m"]
    share: Float[Array, "m"]
    axis: int = flax.struct.field(pytree_node=False, default=1)

    @property
    def positives(self) -> Float[Array, "n m"]:
        """How much each column counts as a positive of each row: its share, or zero."""
        return self.same * self.of_columns(self.share)

    def of_rows(self, values: Float[Array, "n"]) -> Float[Array, "n 1"]:
        """Returns a number of each row as a matrix that goes with the logits."""
        return jnp.expand_dims(values, self.axis)

    def of_columns(self, values: Float[Array, "m"]) -> Float[Array, "1 m"]:
        """Returns a number of each column as a matrix that goes with the logits."""
        return jnp.expand_dims(values, 1 - self.axis)

    def followed_by(self, more: "Block") -> "Block":
        """Returns this block with more columns behind it."""
        return jax.tree.map(lambda *x: jnp.concatenate(x, -1), self, more)

    def turned(self) -> "Block":
        """Returns the same with columns for rows and rows for columns, which count as one each."""
        count = self.logits.shape[1 - self.axis]
        return self.replace(share=jnp.ones(count), axis=1 - self.axis)

    def upright(self) -> "Block":
        """Returns the same with rows on axis 0 and columns on axis 1."""
        if self.axis:
            return self
        return jax.tree.map(jnp.transpose, self).replace(axis=1)


def compare(rows: Side, columns: Columns, scale: Scale) -> Block:
    """Returns the block of these rows and columns; the teacher's logits pass no gradient.

    Positives are the columns of the same image, in the batch or from a queue.
    """
    taught = None
    if rows.taught is not None:
        taught = jax.lax.stop_gradient(scale.logits(rows.taught, columns.taught))
    same = rows.ids[:, None] == columns.ids[None]
    return Block(scale.logits(rows.vectors, columns.vectors), taught, same, columns.share)


def compare_both(images: Side, texts: Side, scale: Scale) -> tuple[Block, Block]:
    """Returns the block of images against texts, and of texts against images.

    Similarities that both have in common are computed once.
    """
    there = compare(images, texts.columns, scale)
    back = there.turned()
    if texts.fresh is not None:
        back = back.replace(logits=scale.logits(images.columns.vectors, texts.vectors))
    return there, back
