"""Softmax and sigmoid contrastive losses, on a whole similarity matrix or block by block.

A loss is a sum over columns of what a few running numbers a row can say, so that no more than one
block of the similarities has to exist at a time; `ring_contrastive` brings the blocks.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.losses.cross_entropy import soft_cross_entropy
from vlp_jax.losses.similarity_blocks import Block


class Form(Protocol):
    """A contrastive loss of rows against columns; `alpha` is the teacher's part in the targets.

    `whole` reads all columns at once, from an upright block. `start` and `add` make a state from
    one block after another, and `losses` reads it; then `surrogate` of a block has the gradient
    that the sum of all losses has through this block.
    """

    def whole(self, block: Block, alpha: Array) -> Float[Array, "n"]: ...

    def start(self, size: int) -> Any: ...

    def add(self, state: Any, block: Block, alpha: Array) -> Any: ...

    def losses(self, state: Any, alpha: Array) -> Float[Array, "n"]: ...

    def surrogate(self, state: Any, block: Block, alpha: Array) -> Float[Array, ""]: ...


@flax.struct.dataclass
class SoftmaxState:
    """Σ exp(x - peak) over own and over teacher's logits, and sums of own logits, of each row.

    `agreed` weighs own logits by exp(teacher's logit - taught_peak), `right` and `even` weigh those
    of the positives and of all columns by their share; the shares sum to `rights` and to `shares`.
    """

    peak: Float[Array, "n"]
    total: Float[Array, "n"]
    taught_peak: Float[Array, "n"]
    taught_total: Float[Array, "n"]
    agreed: Float[Array, "n"]
    right: Float[Array, "n"]
    rights: Float[Array, "n"]
    even: Float[Array, "n"]
    shares: Float[Array, "n"]


@dataclass(frozen=True)
class SoftmaxForm:
    """Cross-entropy of the columns' softmax against targets that sum to one over them.

    A target is divided among all positives by their share; `smoothing` of it goes to all columns,
    by their share as well, and `alpha` of what results is replaced by the teacher's softmax (ALBEF,
    equation 6).
    """

    smoothing: float = 0.0

    def whole(self, block: Block, alpha: Array) -> Float[Array, "n"]:
        """Returns the loss of each row; targets pass no gradient."""
        targets = jax.lax.stop_gradient(self.targets(block, alpha))
        return soft_cross_entropy(_counted(block, block.logits), targets)

    def targets(self, block: Block, alpha: Array) -> Float[Array, "n m"]:
        """Returns what the softmax should be."""
        hard = self._hard(block, block.positives.sum(-1), block.share.sum(keepdims=True))
        if block.taught is None:
            return hard
        soft = jax.nn.softmax(_counted(block, block.taught))
        return alpha * soft + (1 - alpha) * hard

    def _hard(self, block: Block, rights: Array, shares: Array) -> Float[Array, "n m"]:
        """Returns the targets without a teacher; `rights` and `shares` are sums over all blocks."""
        hard = block.positives / block.of_rows(rights)
        if not self.smoothing:
            return hard
        even = block.of_columns(block.share) / block.of_rows(shares)
        return (1 - self.smoothing) * hard + self.smoothing * even

    def start(self, size: int) -> SoftmaxState:
        """Returns the state of rows that have seen nothing."""
        zero, low = jnp.zeros(size), jnp.full(size, -jnp.inf)
        return SoftmaxState(low, zero, low, zero, zero, zero, zero, zero, zero)

    def add(self, state: SoftmaxState, block: Block, alpha: Array) -> SoftmaxState:
        """Returns the state after another block."""
        del alpha
        own, positives, axis = _counted(block, block.logits), block.positives, block.axis
        peak = jnp.maximum(state.peak, own.max(axis))
        weights = jnp.exp(own - block.of_rows(peak))
        changes = dict(
            peak=peak,
            total=state.total * jnp.exp(state.peak - peak) + weights.sum(axis),
            right=state.right + (own * positives).sum(axis),
            rights=state.rights + positives.sum(axis),
        )
        if self.smoothing:
            changes["even"] = state.even + (own * block.of_columns(block.share)).sum(axis)
            changes["shares"] = state.shares + block.share.sum()
        if block.taught is not None:
            changes |= self._add_taught(state, block, own)
        return state.replace(**changes)

    def _add_taught(self, state: SoftmaxState, block: Block, own: Array) -> dict[str, Array]:
        taught = _counted(block, block.taught)
        peak = jnp.maximum(state.taught_peak, taught.max(block.axis))
        shrunk, weights = jnp.exp(state.taught_peak - peak), jnp.exp(taught - block.of_rows(peak))
        return dict(
            taught_peak=peak,
            taught_total=state.taught_total * shrunk + weights.sum(block.axis),
            agreed=state.agreed * shrunk + (weights * own).sum(block.axis),
        )

    def losses(self, state: SoftmaxState, alpha: Array) -> Float[Array, "n"]:
        """Returns logsumexp(logits) - Σ target · logit of each row."""
        wanted = state.right / state.rights
        if self.smoothing:
            even = state.even / state.shares
            wanted = (1 - self.smoothing) * wanted + self.smoothing * even
        taught = state.taught_total > 0
        agreed = state.agreed / jnp.where(taught, state.taught_total, 1.0)
        wanted = jnp.where(taught, alpha * agreed + (1 - alpha) * wanted, wanted)
        return state.peak + jnp.log(state.total) - wanted

    def surrogate(self, state: SoftmaxState, block: Block, alpha: Array) -> Float[Array, ""]:
        """Returns Σ (softmax - target) · logit with fixed weights."""
        own = _counted(block, block.logits)
        probabilities = jnp.exp(own - block.of_rows(state.peak)) / block.of_rows(state.total)
        targets = self._hard(block, state.rights, state.shares)
        if block.taught is not None:
            taught = _counted(block, block.taught)
            weights = jnp.exp(taught - block.of_rows(state.taught_peak))
            soft = weights / block.of_rows(state.taught_total)
            targets = alpha * soft + (1 - alpha) * targets
        return (jax.lax.stop_gradient(probabilities - targets) * own).sum()


@dataclass(frozen=True)
class SigmoidForm:
    """Binary cross-entropy of every pair, summed over columns, times the column's share.

    The target is 1 for the same image and 0 for another; with a teacher `alpha` of it is replaced
    by the sigmoid of its logit. Source: equation 1 of "Sigmoid loss for language image
    pre-training" (Zhai et al. 2023), to which the teacher and the queue are our addition.
    """

    def whole(self, block: Block, alpha: Array) -> Float[Array, "n"]:
        """Returns the loss of each row; targets pass no gradient."""
        targets = block.same.astype(block.logits.dtype)
        if block.taught is not None:
            targets = alpha * jax.nn.sigmoid(block.taught) + (1 - alpha) * targets
        terms = jax.nn.softplus(block.logits) - jax.lax.stop_gradient(targets) * block.logits
        return (terms * block.of_columns(block.share)).sum(block.axis)

    def start(self, size: int) -> Float[Array, "n"]:
        """Returns the losses of rows that have seen nothing."""
        return jnp.zeros(size)

    def add(self, state: Float[Array, "n"], block: Block, alpha: Array) -> Float[Array, "n"]:
        """Returns the losses with another block's."""
        return state + self.whole(block, alpha)

    def losses(self, state: Float[Array, "n"], alpha: Array) -> Float[Array, "n"]:
        """Returns the loss of each row."""
        del alpha
        return state

    def surrogate(self, state: Array, block: Block, alpha: Array) -> Float[Array, ""]:
        """Returns the block's part of the loss itself."""
        del state
        return self.whole(block, alpha).sum()


def _counted(block: Block, logits: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Adds the log of each column's share, so that it counts as that fraction of a column."""
    return logits + block.of_columns(jnp.log(block.share))
