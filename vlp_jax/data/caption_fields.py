"""The text fields of an example: a caption, perhaps with a second text, its own or another's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.batch import IGNORE
from vlp_jax.data.entry import take
from vlp_jax.data.masking import Masking, mask_tokens
from vlp_jax.data.pairing import Pairing
from vlp_jax.data.text import TEXT_STYLES, encode_pair
from vlp_jax.data.tokenizer import Tokenizer

Record = Mapping[str, Any]


@dataclass(frozen=True)
class CaptionFields:
    """Makes `text_*`, `mlm_*` and, with a pairing, `pair_labels` of an example.

    length: tokens of the text, cut or padded. add_sep: ends a single text with [SEP].
    style: a name in TEXT_STYLES, which cleans a caption and cuts it at `max_words` words.
    regions: most tags of another image, as many as it has regions.
    tags: makes the region labels the second text. masking: of words, or None.
    pairing: what is exchanged in training, where also one of the captions is drawn; otherwise
    all is the record's own and the first caption is taken.
    predict_wrong_pairs: gives masked words that were exchanged a label, too.
    """

    tokenizer: Tokenizer
    length: int
    add_sep: bool = False
    style: str = "albef"
    max_words: int = 30
    regions: int = 36
    tags: bool = False
    masking: Masking | None = None
    pairing: Pairing = Pairing()
    predict_wrong_pairs: bool = True
    train: bool = True

    def __call__(
        self,
        record: Record,
        labels: Sequence[str],
        rng: np.random.Generator,
        other: Callable[[], Record],
    ) -> dict[str, np.ndarray]:
        """Returns the fields of a record, `labels` being those of its visible regions.

        `other` gives a record of another image.
        """
        exchanged, label = self.pairing.draw(rng) if self.train else (None, 0)
        stranger = other() if exchanged else None
        caption, rest = self._caption(stranger if exchanged == "caption" else record, rng)
        if self.tags:
            second = self._tags(labels, stranger if exchanged == "second" else None)
        elif self.pairing.second == "caption" and self.train:
            second = self._second_caption(rest, stranger if exchanged == "second" else None, rng)
        else:
            second = None
        fields = self._encode(caption, second)
        if self.masking is not None:
            fields |= self._masked(fields, rng, None if self.predict_wrong_pairs else exchanged)
        if self.pairing.exchanges and self.train:
            fields["pair_labels"] = np.int32(label)
        return fields

    def clean(self, captions: Sequence[str]) -> str:
        """Returns the first caption that is not empty after cleaning; ValueError if all are."""
        return self._usable(captions)[0]

    def _caption(self, record: Record, rng: np.random.Generator) -> tuple[str, Sequence[str]]:
        """Returns one of a record's captions and the others."""
        captions = take(record, "captions")
        first = int(rng.integers(len(captions))) if self.train and len(captions) > 1 else 0
        caption, used = self._usable([*captions[first:], *captions[:first]])
        return caption, [c for i, c in enumerate(captions) if i != (first + used) % len(captions)]

    def _usable(self, captions: Sequence[str]) -> tuple[str, int]:
        """Returns the first caption with words in it, cleaned, and its place."""
        clean, _ = TEXT_STYLES[self.style]
        for place, caption in enumerate(captions):
            if not isinstance(caption, str):
                raise ValueError(f"caption is a {type(caption).__name__}, expected text")
            if text := clean(caption, self.max_words):
                return text, place
        raise ValueError(f"no caption with words in it: {list(captions)!r}")

    def _tags(self, labels: Sequence[str], stranger: Record | None) -> str:
        return " ".join(labels if stranger is None else take(stranger, "labels")[: self.regions])

    def _second_caption(
        self, rest: Sequence[str], stranger: Record | None, rng: np.random.Generator
    ) -> str:
        """Returns another caption of the image, or one of another image."""
        if stranger is not None:
            return self._caption(stranger, rng)[0]
        if not rest:
            raise ValueError("the record has one caption, and this pairing shows two of an image")
        first = int(rng.integers(len(rest)))
        return self.clean([*rest[first:], *rest[:first]])

    def _encode(self, caption: str, second: str | None) -> dict[str, np.ndarray]:
        if second is None:
            ids, mask = self.tokenizer.encode(caption, self.length, self.add_sep)
            return {"text_ids": ids, "text_mask": mask}
        ids, mask, segments = encode_pair(self.tokenizer, caption, second, self.length)
        return {"text_ids": ids, "text_mask": mask, "text_segments": segments}

    def _masked(
        self, fields: dict[str, np.ndarray], rng: np.random.Generator, unpredicted: str | None
    ) -> dict[str, np.ndarray]:
        """Returns masked words and labels; words of the part `unpredicted` have no label."""
        tokenizer, ids = self.tokenizer, fields["text_ids"]
        shown, labels = mask_tokens(
            ids,
            fields["text_mask"],
            rng,
            mask_id=tokenizer.mask_id,
            size=tokenizer.size,
            special_ids=(tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id),
            masking=self.masking,
        )
        if unpredicted is not None:  # still masked: unmasked words would tell a wrong pair
            segments = fields.get("text_segments", np.zeros_like(ids))
            labels[segments == (1 if unpredicted == "second" else 0)] = IGNORE
        return {"mlm_ids": shown, "mlm_labels": labels}
