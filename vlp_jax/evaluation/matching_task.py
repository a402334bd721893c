"""Evaluates retrieval by the matching head alone, for models without contrastive vectors."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from vlp_jax.evaluation.context import TASKS, Context, Outcome
from vlp_jax.evaluation.retrieval_task import match_scores, retrieval_rows
from vlp_jax.layers.tokens import Tokens
from vlp_jax.metrics.retrieval import retrieval_report


class Encoded(NamedTuple):
    """The images and texts of a split, encoded on the host, and the images' ids."""

    images: Tokens
    texts: Tokens
    ids: np.ndarray


@TASKS.register("matching")
@dataclass(frozen=True)
class MatchingTask:
    """Image→text and text→image recall at 1, 5 and 10 on the first `limit` records.

    Every text is fused with every image (UNITER, section 4.2, zero-shot retrieval), so that the
    time grows with the square of `limit`.
    """

    source: str = ""
    split: str = "test"
    limit: int = 128

    needs = ("image|region_features", "caption")
    heads = ("itm",)

    def __call__(self, context: Context, name: str) -> Outcome:
        encoded = encode(context, context.source(self.source, self.split), self.limit)
        count = len(encoded.ids)
        pairs = np.divmod(np.arange(count * count), count)
        scores = match_scores(context, encoded, *pairs).reshape(count, count)
        figures = retrieval_report(scores, encoded.ids, encoded.ids)
        rows = retrieval_rows(figures, f"{self.split}, matching head", count, headline=False)
        return Outcome({f"{name}_{key}": value for key, value in figures.items()}, rows)


def encode(context: Context, source, limit: int) -> Encoded:
    """Encodes the first `limit` records of a source, each image and each text once."""
    parts = []
    for batch in context.batches(source, limit):
        texts = context.bound.texts(
            batch["text_ids"], batch["text_mask"], batch.get("text_segments")
        )
        keep = batch["example_mask"]
        made = Encoded(context.bound.images(batch), texts, batch["image_id"])
        parts.append(jax.tree.map(lambda x: np.asarray(x)[keep], made))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)
