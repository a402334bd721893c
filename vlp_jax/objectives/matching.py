"""Image-text matching with hard negatives drawn from contrastive similarities (ALBEF section 3.2)."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result, cross_entropy
from vlp_jax.objectives.momentum import Queue
from vlp_jax.objectives.pairs import match_classes, swapped_pairs
from vlp_jax.objectives.sampling import sample_negatives
from vlp_jax.objectives.views import Views


@OBJECTIVES.register("itm")
@dataclass(frozen=True)
class MatchingObjective:
    """Cross-entropy of matched against mismatched pairs.

    `negatives` = "hard" draws 2B of them, to B matches, from the contrastive similarities (ALBEF);
    "random" as many, uniformly; "swapped" gives half of the B pairs another image (UNITER).
    """

    weight: float = 1.0
    negatives: Literal["hard", "random", "swapped"] = "hard"

    reads = frozenset({"text_ids", "text_mask", "image_id"})
    metrics = ("itm_accuracy",)

    @property
    def heads(self) -> tuple[str, ...]:
        """Hard negatives read the contrastive head as well."""
        return ("itm", "itc") if self.negatives == "hard" else ("itm",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        logits, labels = self._swapped(views) if self.negatives == "swapped" else self._joined(views)
        classes = match_classes(labels, views.model.heads["itm"].match_index)
        accuracy = (jnp.argmax(logits, -1) == classes).astype(jnp.float32).mean()
        return Result(cross_entropy(logits, classes).mean(), {"itm_accuracy": accuracy})

    def _swapped(self, views: Views) -> tuple[Array, Array]:
        """Returns the logits of swapped pairs, and 0 for those that belong together, else 1."""
        fused, matched = swapped_pairs(views)
        logits = views.run(VisionLanguageModel.match_logits, fused, name="match")
        return logits, 1 - matched.astype(jnp.int32)

    def _joined(self, views: Views) -> tuple[Array, Array]:
        """Returns the same of all own pairs and of both kinds of negatives."""
        own = jnp.arange(views.size)
        negative_images, negative_texts = self._draw(views)
        texts = jnp.concatenate([own, negative_texts])
        images = jnp.concatenate([negative_images, own])
        match = views.run(VisionLanguageModel.match_logits, views.fused(), name="match")
        mismatch = views.run(
            VisionLanguageModel.match_logits, views.fused_pairs(texts, images), name="mismatch"
        )
        labels = (jnp.arange(3 * views.size) >= views.size).astype(jnp.int32)
        return jnp.concatenate([match, mismatch]), labels

    def _draw(self, views: Views) -> tuple[Array, Array]:
        """Returns a negative image for each text, and a negative text for each image."""
        ids = views.batch["image_id"]
        if self.negatives == "hard":
            logits = jax.lax.stop_gradient(views.similarities())
        else:
            logits = jnp.zeros((views.size, views.size))
        for_text, for_image = jax.random.split(views.draw_key("negatives"))
        return sample_negatives(for_text, logits.T, ids), sample_negatives(for_image, logits, ids)
