"""The value that passes between encoders, fusions and heads: token states with their mask."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def pick_rows(tree: Any, rows: Int[Array, "p m"]) -> Any:
    """Returns rows of arrays [B, ...], of each of P equal parts of the batch its own M.

    `rows` are counted from the first of a part; the result [P · M, ...] has part after part.
    """
    take = jax.vmap(lambda part, index: jnp.take(part, index, axis=0))
    cut = lambda x: x.reshape(len(rows), -1, *x.shape[1:])
    return jax.tree.map(lambda x: take(cut(x), rows).reshape(-1, *x.shape[1:]), tree)


@flax.struct.dataclass
class Tokens:
    """A batch of token sequences.

    Attributes:
      states: float [B, T, D].
      mask: bool [B, T], True where a token is real.
    """

    states: Float[Array, "b t d"]
    mask: Bool[Array, "b t"]

    def concatenate(self, other: "Tokens") -> "Tokens":
        """Returns both sequences joined along T."""
        return Tokens(
            jnp.concatenate([self.states, other.states], axis=1),
            jnp.concatenate([self.mask, other.mask], axis=1),
        )

    def split(self, length: int) -> tuple["Tokens", "Tokens"]:
        """Returns the first `length` tokens and the rest."""
        return (
            Tokens(self.states[:, :length], self.mask[:, :length]),
            Tokens(self.states[:, length:], self.mask[:, length:]),
        )

    def masked_mean(self) -> Float[Array, "b d"]:
        """Returns the mean state of the real tokens; zero where a row has none."""
        weights = self.mask[..., None].astype(self.states.dtype)
        return (self.states * weights).sum(1) / jnp.maximum(weights.sum(1), 1)

    def pooled(self, how: str) -> Float[Array, "b d"]:
        """Returns one state a row: the "first" token's, or the "mean" of the real tokens."""
        return self.masked_mean() if how == "mean" else self.states[:, 0]


@flax.struct.dataclass(kw_only=True)
class Fused:
    """What a fusion returns: both streams after they have seen each other."""

    image: Tokens
    text: Tokens
