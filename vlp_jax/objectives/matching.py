"""Image-text matching with hard negatives drawn from contrastive similarities (ALBEF section 3.2)."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result, cross_entropy
from vlp_jax.objectives.momentum import Queue
from vlp_jax.objectives.views import Views


def sample_negatives(
    key: Array, logits: Float[Array, "b b"], ids: Int[Array, "b"]
) -> Int[Array, "b"]:
    """Draws for each row another column with probability ∝ exp(logits), never the same image.

    The own image is masked in log space, so that the draw cannot fail however peaked the
    similarities are. A batch in which all images are the same falls back to the next column.
    """
    same = ids[:, None] == ids[None]
    drawn = jax.random.categorical(key, jnp.where(same, -jnp.inf, logits))
    following = (jnp.arange(len(ids)) + 1) % len(ids)
    return jnp.where(same.all(-1), following, drawn)


@OBJECTIVES.register("itm")
@dataclass(frozen=True)
class MatchingObjective:
    """Cross-entropy of matched against mismatched pairs: B matches, 2B negatives.

    `negatives` = "hard" draws them from the contrastive similarities, "random" uniformly.
    """

    weight: float = 1.0
    negatives: Literal["hard", "random"] = "hard"

    reads = frozenset({"text_ids", "text_mask", "image_id"})
    metrics = ("itm_accuracy",)

    @property
    def heads(self) -> tuple[str, ...]:
        """Hard negatives read the contrastive head as well."""
        return ("itm", "itc") if self.negatives == "hard" else ("itm",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        own = jnp.arange(views.size)
        negative_images, negative_texts = self._draw(views)
        texts = jnp.concatenate([own, negative_texts])
        images = jnp.concatenate([negative_images, own])
        match = views.run(VisionLanguageModel.match_logits, views.fused(), name="match")
        mismatch = views.run(
            VisionLanguageModel.match_logits, views.fused_pairs(texts, images), name="mismatch"
        )
        logits = jnp.concatenate([match, mismatch])
        index = views.model.heads["itm"].match_index
        labels = jnp.concatenate([jnp.full(views.size, index), jnp.full(2 * views.size, 1 - index)])
        accuracy = (jnp.argmax(logits, -1) == labels).astype(jnp.float32).mean()
        return Result(cross_entropy(logits, labels).mean(), {"itm_accuracy": accuracy})

    def _draw(self, views: Views) -> tuple[Array, Array]:
        """Returns a negative image for each text, and a negative text for each image."""
        ids = views.batch["image_id"]
        if self.negatives == "hard":
            logits = jax.lax.stop_gradient(views.similarities())
        else:
            logits = jnp.zeros((views.size, views.size))
        for_text, for_image = jax.random.split(views.draw_key("negatives"))
        return sample_negatives(for_text, logits.T, ids), sample_negatives(for_image, logits, ids)
