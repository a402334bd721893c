"""Ranking: a picture's own text scores above wrong ones, and the other way round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Natural, NonNegative
from vlp_jax.data.sizes import Sizes
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.losses.sampling import sample_distinct, sample_negatives
from vlp_jax.losses.triplet import triplet_losses
from vlp_jax.model import CAPTION, Views
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task, check_others
from vlp_jax.tasks.decisions import RANKING_HEADS
from vlp_jax.tasks.texts import needed


@TASKS.register("ranking")
@dataclass(frozen=True)
class RankingTask(Task):
    """Score each pair of a batch above pairs with another picture or another text.

    form: "triplet" is the mean over wrong pairs of max(0, margin + σ(wrong) - σ(right)) (UNITER),
    "choice" cross-entropy of the right pair among all (ViLBERT). pictures, texts: how many wrong
    ones, drawn uniformly from the batch, a pair is compared with. head: the one that scores.

    candidates: of so many wrong pictures, and wrong texts, the ones that the model itself scores
    highest are taken, if not 0; it does so without dropout and gradient (UNITER, `train_itm_hard_
    negatives.py`). pairs: of how many examples of the batch own pairs are learned, 0 for all; what
    the others have is wrong for these.
    """

    form: Literal["triplet", "choice"] = "triplet"
    pictures: Natural = 1
    texts: Natural = 1
    candidates: Natural = 0
    pairs: Natural = 0
    margin: NonNegative = 0.2
    head: str = RANKING_HEADS[0]

    title = "Ranking"
    metrics = {"ranking_accuracy": "Pairs above all of their wrong ones"}
    verbs = ("match", "retrieve")

    def __post_init__(self):
        if not self.pictures + self.texts:
            raise ValueError("pictures = texts = 0: a pair has to be compared with something")

    @property
    def reads(self) -> frozenset[str]:
        """The caption and which images are the same."""
        return needed(CAPTION) | {"image_id"}

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """Wrong ones are of the batch, which passes split into equal parts."""
        sizes, parts = self.batch_sizes(config), config.training.accumulate
        check_others(path, sizes)
        most = max(self.pictures, self.texts)
        for where, size in sizes.items():
            if self.candidates and not most <= self.candidates < size:
                raise ValueError(
                    f"{path}.candidates = {self.candidates}: expected at least the {most} that are "
                    f"taken of them, and fewer than {where} = {size}"
                )
            if self.pairs and (size % self.pairs or self.pairs % parts):
                raise ValueError(
                    f"{path}.pairs = {self.pairs}: expected a divisor of {where} = {size} and a "
                    f"multiple of config.training.accumulate = {parts}"
                )

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """The one that scores."""
        return {self.head: HeadNeed("classifier", {"class": 1})}

    def loss(self, step: Step) -> Result:
        """The mean over pairs, or over their wrong ones."""
        views = step.views
        fused = views.fused_pairs(*self.draw(views))
        scores = views.head_of(self.head, fused, "ranking")[:, -1]
        grouped = scores.reshape(1 + self.pictures + self.texts, -1).T
        if self.form == "triplet":
            loss = triplet_losses(grouped.reshape(-1), grouped.shape[1], self.margin).mean()
        else:
            loss = cross_entropy(grouped, jnp.zeros(len(grouped), jnp.int32)).mean()
        right = (grouped[:, :1] > grouped[:, 1:]).all(1)
        return Result(loss, {"ranking_accuracy": right.astype(jnp.float32).mean()})

    def draw(self, views: Views) -> tuple[Int[Array, "n"], Int[Array, "n"]]:
        """Returns images and texts of all pairs: the batch's own, then each kind of wrong ones."""
        count = self.pairs or views.size
        own = jnp.arange(count) * (views.size // count)  # spread over the devices
        images, texts = (self._hardest if self.candidates else self._others)(views, own)
        return (
            jnp.concatenate([own, *images, *[own] * self.texts]),
            jnp.concatenate([own, *[own] * self.pictures, *texts]),
        )

    def _others(
        self, views: Views, own: Int[Array, "p"]
    ) -> tuple[Sequence[Array], Sequence[Array]]:
        """Returns wrong pictures and wrong texts of the own pairs, each drawn by itself."""
        evenly, ids = jnp.zeros((views.size, views.size)), views.batch["image_id"]
        other = lambda name: sample_negatives(views.draw_key(name), evenly, ids)[own]
        return (
            [other(f"ranking picture {i}") for i in range(self.pictures)],
            [other(f"ranking text {i}") for i in range(self.texts)],
        )

    def _hardest(self, views: Views, own: Int[Array, "p"]) -> tuple[Array, Array]:
        """Returns the wrong pictures [pictures, P] and texts [texts, P] that score highest."""
        ids = views.batch["image_id"]
        same = ids[own][:, None] == ids[None]
        draw = lambda name: sample_distinct(
            views.draw_key(name), jnp.zeros(same.shape), same, self.candidates
        )
        images, texts = draw("candidate pictures"), draw("candidate texts")
        pairs = [(images.T, jnp.broadcast_to(own, images.T.shape))]
        pairs += [(jnp.broadcast_to(own, texts.T.shape), texts.T)]
        by_image, by_text = self._scores(views, pairs)
        return (
            _highest(by_image, images, same, self.pictures),
            _highest(by_text, texts, same, self.texts),
        )

    def _scores(self, views: Views, pairs: list[tuple[Array, Array]]) -> list[Float[Array, "p c"]]:
        """Returns the scores of image i with text j for index pairs (i, j), each [C, P].

        One candidate of each row is scored at a time, so that no more than P passes are kept.
        """
        judge = Views(views.model, jax.lax.stop_gradient(views.params), views.batch)
        judge.image(), judge.text()  # once, before the loop
        score = lambda pair: judge.head_of(self.head, judge.fused_pairs(*pair), "candidates")
        return [jax.lax.map(score, pair)[..., -1].T for pair in pairs]


def _highest(
    scores: Float[Array, "p c"], drawn: Int[Array, "p c"], same: Bool[Array, "p b"], count: int
) -> Int[Array, "n p"]:
    """Returns the candidates of each row with the highest scores, of another image if possible."""
    right = jnp.take_along_axis(same, drawn, axis=1)
    places = jax.lax.top_k(jnp.where(right, -jnp.inf, scores), count)[1]
    return jnp.take_along_axis(drawn, places, axis=1).T
