"""Text assignment, ALBEF's own pre-training for two pictures (section 5, NLVR2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Positive, Share
from vlp_jax.data.sizes import Sizes
from vlp_jax.fusion import FUSIONS
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.losses.sampling import sample_distinct
from vlp_jax.model import CAPTION, Views
from vlp_jax.model.views import fuse
from vlp_jax.tasks import contrast
from vlp_jax.tasks.base import TASKS, HeadNeed, Result, Step, Task
from vlp_jax.tasks.texts import needed

HEAD = "ta"
FIRST, SECOND, NEITHER = range(3)


@TASKS.register("text_assignment")
@dataclass(frozen=True)
class TextAssignmentTask(Task):
    """Cross-entropy of which of two pictures a text belongs to: the first, the second or neither.

    The share `neither` of the texts is shown with two pictures of others; the rest with their own,
    first or second by the toss of a coin, and one of another. Those are drawn from the batch by
    softmax(s / temperature), s being the similarity to the text's own picture (their contrastive
    vectors), without gradient. Source: `models/model_pretrain_nlvr.py` of salesforce/ALBEF.
    """

    temperature: Positive = 0.07
    neither: Share = 1 / 3

    title = "Text assignment"
    metrics = {"text_assignment_accuracy": "Texts assigned to the right picture"}
    joins_pictures = True

    @property
    def reads(self) -> frozenset[str]:
        """The caption and which images are the same."""
        return needed(CAPTION) | {"image_id"}

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
        """Two pictures of others, and a model that reads two."""
        for where, size in self.batch_sizes(config).items():
            if size < 3:
                raise ValueError(
                    f"{path} shows two pictures of other examples of the batch, and {where} = "
                    f"{size}: make it 3 or more"
                )
        fusion = FUSIONS.get_known(config.model.fusion, "config.model.fusion")
        if fusion.images != 2:
            two = [name for name, known in FUSIONS.items() if known.images == 2]
            raise ValueError(
                f"{path} needs a fusion of two pictures, and config.model.fusion = "
                f'"{config.model.fusion}" reads {fusion.images}: set it to {" or ".join(two)}'
            )

    def chances(self, config: ExperimentConfig) -> dict[str, float]:
        """The most frequent of the three."""
        return {"text_assignment_accuracy": max(self.neither, (1 - self.neither) / 2)}

    def heads(self, sizes: Sizes) -> dict[str, HeadNeed]:
        """Three classes, and the contrastive head for similar pictures."""
        three = HeadNeed("classifier", {"class": 3})
        return {HEAD: three, contrast.HEAD: HeadNeed(contrast.HEAD)}

    def loss(self, step: Step) -> Result:
        """The mean over texts."""
        views = step.views
        first, second, labels = self.draw(views)
        pick = lambda rows: jax.tree.map(lambda x: jnp.take(x, rows, axis=0), views.image())
        shown = (pick(first), pick(second))
        fused = views.run(fuse, shown, views.text(), name="text assignment")
        logits = views.head_of(HEAD, fused, HEAD)
        accuracy = (jnp.argmax(logits, -1) == labels).astype(jnp.float32).mean()
        return Result(cross_entropy(logits, labels).mean(), {"text_assignment_accuracy": accuracy})

    def draw(self, views: Views) -> tuple[Int[Array, "b"], Int[Array, "b"], Int[Array, "b"]]:
        """Returns the first and the second picture of each text, and its label."""
        vectors = jax.lax.stop_gradient(contrast.image_vector(views))
        logits, ids = vectors @ vectors.T / self.temperature, views.batch["image_id"]
        same, rows = ids[:, None] == ids[None], jnp.arange(views.size)
        other, another = sample_distinct(views.draw_key("other pictures"), logits, same, 2).T
        draw = lambda name, share: jax.random.bernoulli(views.draw_key(name), share, rows.shape)
        neither, second = draw("neither", self.neither), draw("second", 0.5)
        labels = jnp.where(neither, NEITHER, jnp.where(second, SECOND, FIRST))
        return (
            jnp.where(labels == FIRST, rows, other),
            jnp.where(labels == SECOND, rows, jnp.where(neither, another, other)),
            labels,
        )
