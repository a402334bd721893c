"""What fine-tuned models decide: entailment, NLVR2, referring expressions, multiple choice."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import CAPTION, Views, VisionLanguageModel

REASONING = "nlvr2"
ENTAILMENT = "ve"
REGION_HEADS = ("re", "grounding")
"""Heads that score each region of a picture for an expression (UNITER's, ViLBERT's)."""
CHOICE_HEADS = ("vcr", "ranking")
"""Heads that score a picture with a question and one choice of its answer."""
RANKING_HEADS = ("rank", "ranking")
"""Heads with one score for how well a text fits a picture (UNITER's, ViLBERT's)."""


def first_head(model: VisionLanguageModel, names: Sequence[str]) -> str | None:
    """Returns the first of the named heads that the model has."""
    return next((name for name in names if name in model.heads), None)


def head_logits(views: Views, head: str) -> Float[Array, "b c"]:
    """Returns what a head gives for each picture with its caption."""
    return views.head(head, CAPTION)


def last_logit(views: Views, head: str) -> Float[Array, "b"]:
    """Returns the logit of the last class: of "yes", where a head has no other than "no"."""
    return head_logits(views, head)[:, -1]


def reasoning_logits(views: Views) -> Float[Array, "b 2"]:
    """Returns logits of "the sentence is false of both pictures" and "true".

    The batch holds both pictures on an axis [B, 2], or their regions as one list.
    """
    return views.run(_read_batch, dict(views.batch), name=REASONING)


def _read_batch(model: VisionLanguageModel, batch: dict, *, deterministic: bool) -> Array:
    reading = model.encode(batch, deterministic=deterministic)
    return model.read(REASONING, reading, deterministic=deterministic)


def several_logits(
    model: VisionLanguageModel,
    image: Tokens,
    ids: Int[Array, "b k l"],
    mask: Bool[Array, "b k l"],
    segments: Int[Array, "b k l"] | None = None,
    *,
    head: str,
    deterministic: bool = True,
) -> Float[Array, "b k c"]:
    """Returns what a head gives for each image with each of its K texts."""
    batch, count = ids.shape[:2]
    given = (
        x if x is None else x.reshape(batch * count, *x.shape[2:]) for x in (ids, mask, segments)
    )
    text = model.encode_text(*given, deterministic=deterministic)
    images = jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), image)
    fused = model.fuse(images, text, deterministic=deterministic)
    reading = Reading((images,), (text,), (fused,))
    return model.read(head, reading, deterministic=deterministic).reshape(batch, count, -1)
