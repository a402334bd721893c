"""Ranking: a picture's own text scores above wrong ones, and the other way round."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Int

from vlp_jax.config.ranges import Natural, NonNegative
from vlp_jax.data.sizes import Sizes
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.losses.sampling import sample_negatives
from vlp_jax.losses.triplet import triplet_losses
from vlp_jax.model import CAPTION, Views
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.decisions import RANKING_HEADS
from vlp_jax.tasks.texts import needed


@TASKS.register("ranking")
@dataclass(frozen=True)
class RankingTask(Task):
    """Score each pair of a batch above pairs with another picture or another text.

    form: "triplet" is the mean over wrong pairs of max(0, margin + σ(wrong) - σ(right)) (UNITER),
    "choice" cross-entropy of the right pair among all (ViLBERT). pictures, texts: how many wrong
    ones, drawn uniformly from the batch, a pair is compared with. head: the one that scores.
    """

    form: Literal["triplet", "choice"] = "triplet"
    pictures: Natural = 1
    texts: Natural = 1
    margin: NonNegative = 0.2
    head: str = RANKING_HEADS[0]

    title = "Ranking"
    metrics = {"ranking_accuracy": "Pairs above all of their wrong ones"}

    def __post_init__(self):
        if not self.pictures + self.texts:
            raise ValueError("pictures = texts = 0: a pair has to be compared with something")

    @property
    def reads(self) -> frozenset[str]:
        """The caption and which images are the same."""
        return needed(CAPTION) | {"image_id"}

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The one that scores."""
        return {self.head: HeadNeed("classifier", {"class": 1})}

    def loss(self, step: Step) -> Result:
        """The mean over pairs, or over their wrong ones."""
        views = step.views
        fused = views.fused_pairs(*self.draw(views))
        scores = views.head_of(self.head, fused, "ranking")[:, -1]
        grouped = scores.reshape(1 + self.pictures + self.texts, views.size).T
        if self.form == "triplet":
            loss = triplet_losses(grouped.reshape(-1), grouped.shape[1], self.margin).mean()
        else:
            loss = cross_entropy(grouped, jnp.zeros(views.size, jnp.int32)).mean()
        right = (grouped[:, :1] > grouped[:, 1:]).all(1)
        return Result(loss, {"ranking_accuracy": right.astype(jnp.float32).mean()})

    def draw(self, views: Views) -> tuple[Int[Array, "n"], Int[Array, "n"]]:
        """Returns images and texts of all pairs: the batch's own, then each kind of wrong ones."""
        own, ids = jnp.arange(views.size), views.batch["image_id"]
        evenly = jnp.zeros((views.size, views.size))
        other = lambda name: sample_negatives(views.draw_key(name), evenly, ids)
        images = [other(f"ranking picture {i}") for i in range(self.pictures)]
        texts = [other(f"ranking text {i}") for i in range(self.texts)]
        return (
            jnp.concatenate([own, *images, *[own] * self.texts]),
            jnp.concatenate([own, *[own] * self.pictures, *texts]),
        )
