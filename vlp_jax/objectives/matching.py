"""Image-text matching: hard negatives by contrastive similarity (ALBEF section 3.2), or others."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.losses.contrastive import contrastive_logits
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.sampling import sample_negatives
from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.pairs import match_classes, swapped_pairs
from vlp_jax.objectives.views import Views


@OBJECTIVES.register("itm")
@dataclass(frozen=True)
class MatchingObjective:
    """Cross-entropy of matched against mismatched pairs.

    `negatives` = "hard" draws 2B of them, to B matches, from the contrastive similarities (ALBEF);
    "random" as many, uniformly; "swapped" gives half of the B pairs another image (UNITER).
    `in_batch` = "teacher" measures similarity to the teacher's vectors, as ALBEF's code does,
    "online" to the model's own. `hardness` scales the log weights of the draw: 1 is ALBEF, smaller
    values give easier negatives, from which a short run gets going; with `hardness_ramp` it grows
    from 0 with the distillation ramp. If the batch holds foils, that share of the negative texts
    are the image's own foil (Yuksekgonul et al. 2023, NegCLIP).
    """

    weight: float = 1.0
    negatives: Literal["hard", "random", "swapped"] = "hard"
    in_batch: Literal["teacher", "online"] = "online"
    hardness: float = 1.0
    hardness_ramp: bool = False
    foils: float = 0.5

    reads = frozenset({"text_ids", "text_mask", "image_id"})
    metrics = ("itm_accuracy",)

    @property
    def heads(self) -> tuple[str, ...]:
        """Hard negatives read the contrastive head as well."""
        return ("itm", "itc") if self.negatives == "hard" else ("itm",)

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        if self.negatives == "swapped":
            logits, labels = self._swapped(views)
        else:
            logits, labels = self._joined(views, *self._draw(views, teacher, ramp))
        classes = match_classes(labels, views.model.heads["itm"].match_index)
        accuracy = (jnp.argmax(logits, -1) == classes).astype(jnp.float32).mean()
        return Result(cross_entropy(logits, classes).mean(), {"itm_accuracy": accuracy})

    def _swapped(self, views: Views) -> tuple[Array, Array]:
        """Returns the logits of swapped pairs, and 0 for those that belong together, else 1."""
        fused, matched = swapped_pairs(views)
        logits = views.run(VisionLanguageModel.match_logits, fused, name="match")
        return logits, 1 - matched.astype(jnp.int32)

    def _joined(
        self, views: Views, negative_images: Array, negative_texts: Array
    ) -> tuple[Array, Array]:
        """Returns the same of all own pairs and of both kinds of negatives."""
        own = jnp.arange(views.size)
        if "foil_ids" in views.batch:
            chosen = jax.random.bernoulli(views.draw_key("foils"), self.foils, own.shape)
            negative_texts = jnp.where(chosen, views.size + own, negative_texts)
        texts = jnp.concatenate([own, negative_texts])
        images = jnp.concatenate([negative_images, own])
        match = views.run(VisionLanguageModel.match_logits, views.fused(), name="match")
        mismatch = views.run(
            VisionLanguageModel.match_logits, views.fused_pairs(texts, images), name="mismatch"
        )
        labels = (jnp.arange(3 * views.size) >= views.size).astype(jnp.int32)
        return jnp.concatenate([match, mismatch]), labels

    def _draw(self, views: Views, teacher: Views | None, ramp: Array) -> tuple[Array, Array]:
        """Returns a negative image for each text, and a negative text for each image."""
        ids = views.batch["image_id"]
        by_image, by_text = self.draw_logits(views, teacher, ramp)
        for_text, for_image = jax.random.split(views.draw_key("negatives"))
        return sample_negatives(for_text, by_text, ids), sample_negatives(for_image, by_image, ids)

    def draw_logits(self, views: Views, teacher: Views | None, ramp: Array) -> tuple[Array, Array]:
        """Returns by what a text is drawn for each image, and an image for each text [B, B]."""
        if self.negatives != "hard":
            return (jnp.zeros((views.size, views.size)),) * 2
        own = views.vectors()
        columns = own if teacher is None or self.in_batch == "online" else teacher.vectors()
        logits = contrastive_logits(own, columns, views.temperature())
        hardness = self.hardness * ramp if self.hardness_ramp else self.hardness
        return jax.tree.map(lambda x: jax.lax.stop_gradient(hardness * x), logits)
