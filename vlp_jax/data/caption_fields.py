"""The text fields of an example: a caption, perhaps with a second text, its own or another's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.entry import take
from vlp_jax.data.text import encode_pair
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.transforms import Example, Stage, Transform

Record = Mapping[str, Any]


@dataclass(frozen=True)
class CaptionFields(Transform):
    """Makes `text_ids`, `text_mask` and, with a second text, `text_segments`.

    length: tokens of the text, cut or padded.
    regions: most tags of another image, as many as it has regions.
    tags: makes the region labels the second text (OSCAR).
    train: draws one of the captions; otherwise the first that has words is taken. What the notes of
        `ExchangeTexts` say is another image's. The note `caption_place` says which of its own was
        taken.
    """

    texts: TextEncoder
    length: int
    regions: int = 36
    tags: bool = False
    train: bool = True

    stage = Stage.TEXT

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        exchanged, stranger = example.get("exchanged"), example.get("stranger")
        own = stranger if exchanged == "caption" else example.record
        caption, place = self._caption(own, rng)
        foreign = stranger if exchanged == "second" else None
        note = {"caption_place": place} if own is example.record else {}
        if not self.tags and example.get("second") == "caption":
            rest = [c for i, c in enumerate(own["captions"]) if i != place]
            return note | self._pair(caption, self._second_caption(rest, foreign, rng))
        return note | self.of_caption(example, caption, foreign)

    def of_caption(
        self, example: Example, caption: str, stranger: Record | None = None
    ) -> dict[str, np.ndarray]:
        """Returns the fields of a cleaned caption, with tags, which may be another image's."""
        if self.tags:
            return self._pair(caption, self._tags(example, stranger))
        ids, mask = self.texts.encode(caption, self.length)
        return {"text_ids": ids, "text_mask": mask}

    def _caption(self, record: Record, rng: np.random.Generator) -> tuple[str, int]:
        """Returns one of a record's captions, cleaned, and its place among them."""
        captions = take(record, "captions")
        first = int(rng.integers(len(captions))) if self.train and len(captions) > 1 else 0
        caption, used = self.texts.usable_caption([*captions[first:], *captions[:first]])
        return caption, (first + used) % len(captions)

    def _tags(self, example: Example, stranger: Record | None) -> str:
        if stranger is not None:
            return " ".join(take(stranger, "labels")[: self.regions])
        return own_tags(example)

    def _second_caption(
        self, rest: Sequence[str], stranger: Record | None, rng: np.random.Generator
    ) -> str:
        """Returns another caption of the image, or one of another image."""
        if stranger is not None:
            return self._caption(stranger, rng)[0]
        if not rest:
            raise ValueError("the record has one caption, and this pairing shows two of an image")
        first = int(rng.integers(len(rest)))
        return self.texts.usable_caption([*rest[first:], *rest[:first]])[0]

    def _pair(self, caption: str, second: str) -> dict[str, np.ndarray]:
        ids, mask, segments = encode_pair(self.texts.tokenizer, caption, second, self.length)
        return {"text_ids": ids, "text_mask": mask, "text_segments": segments}


def drawn_caption(texts: TextEncoder, record: Record, rng: np.random.Generator) -> str:
    """Returns one of a record's captions, cleaned; one without words is passed over."""
    captions = take(record, "captions")
    first = int(rng.integers(len(captions)))
    return texts.usable_caption([*captions[first:], *captions[:first]])[0]


def own_tags(example: Example) -> str:
    """Returns the labels of the regions that an example keeps, as one text."""
    labels = take(example.record, "labels")
    return " ".join(labels[i] for i in example["regions"].kept)
