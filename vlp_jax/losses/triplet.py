"""Triplet loss on matching scores: a pair that belongs together beats its negatives by a margin."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def triplet_losses(
    scores: Float[Array, "n"], group: int, margin: float = 0.2
) -> Float[Array, "g k"]:
    """Returns max(0, margin + negative - positive) of every negative [groups, group - 1].

    Scores are logits, compared after a sigmoid. Each `group` consecutive ones are a matched pair
    and then its negatives. Source: `model/itm.py` of ChenRocks/UNITER (retrieval fine-tuning).

    Raises ValueError for a number of scores that `group` does not divide.
    """
    if group < 2 or scores.size % group:
        raise ValueError(
            f"{scores.size} scores cannot be split into groups of {group}: a group is one "
            "matched pair and at least one negative"
        )
    probabilities = jax.nn.sigmoid(scores.astype(jnp.float32).reshape(-1, group))
    return jax.nn.relu(margin + probabilities[:, 1:] - probabilities[:, :1])
