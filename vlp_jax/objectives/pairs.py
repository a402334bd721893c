"""Pairs that belong together or not: as the data joined them, or with images swapped in a batch."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from vlp_jax.layers.tokens import Fused
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.sampling import sample_negatives
from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Result
from vlp_jax.objectives.views import TEXTS, Views


def swapped_pairs(views: Views) -> tuple[Fused, Bool[Array, "b"]]:
    """Fuses each text with its own image or, every other time, with another; says which are own.

    The pass is made once, however many objectives ask for it. Source: UNITER (section 3.2), which
    replaces the image of a pair with probability one half.
    """
    ids = views.batch["image_id"]
    draw, toss = jax.random.split(views.draw_key("swapped"))
    other = sample_negatives(draw, jnp.zeros((views.size, views.size)), ids)
    own = jnp.arange(views.size)
    images = jnp.where(jax.random.bernoulli(toss, 0.5, (views.size,)), own, other)
    return views.fused_pairs(own, images, once="swapped"), ids[images] == ids


def match_classes(labels: Int[Array, "b"], match_index: int) -> Int[Array, "b"]:
    """Returns a matching head's class for labels in which 0 means that all belongs together.

    The head has that at `match_index`; the label of this number takes class 0 in exchange.
    """
    exchanged = jnp.where(labels == match_index, 0, labels)
    return jnp.where(labels == 0, match_index, exchanged)


@OBJECTIVES.register("pair")
@OBJECTIVES.register("contrastive_tags")
@OBJECTIVES.register("sentence_image")
@dataclass(frozen=True)
class PairObjective:
    """Cross-entropy of `pair_labels`: how the data joined the text and the image of each example.

    * "contrastive_tags": 1 for another image's tags (OSCAR, section 3); OSCAR+ has a third class,
      2, for another image's caption (VinVL, section 3.2), and its head three `classes`.
    * "sentence_image": 1 if the second of two captions is of another image (VisualBERT, section
      3.3).
    * "pair": 1 for a caption that was replaced (ViLBERT, LXMERT).

    The text is the masked one, so that one pass serves masked language modelling as well.
    """

    weight: float = 1.0
    text: Literal["clean", "masked"] = "masked"

    metrics = ("pair_accuracy",)
    heads = ("itm",)

    @property
    def reads(self) -> frozenset[str]:
        """The text's fields and the labels."""
        return frozenset(TEXTS[self.text]) | {"pair_labels"}

    def __call__(
        self, views: Views, teacher: Views | None, queue: Queue | None, ramp: Array
    ) -> Result:
        logits = views.run(VisionLanguageModel.match_logits, views.fused(self.text), name="pair")
        match_index = views.model.heads["itm"].match_index
        classes = match_classes(views.batch["pair_labels"], match_index)
        accuracy = (jnp.argmax(logits, -1) == classes).astype(jnp.float32).mean()
        return Result(cross_entropy(logits, classes).mean(), {"pair_accuracy": accuracy})
