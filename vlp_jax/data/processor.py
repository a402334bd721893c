"""From one record of a source to one example of fixed shapes."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlp_jax.config import nearest
from vlp_jax.data.augment import AUGMENTATIONS, Augmentation, augment
from vlp_jax.data.boxes import unit_boxes, visible_boxes
from vlp_jax.data.images import decode
from vlp_jax.data.masking import Masking, mask_tokens
from vlp_jax.data.text import TEXT_STYLES, encode_pair
from vlp_jax.data.tokenizer import Tokenizer

PROVIDES = ("image", "caption", "question", "regions", "foils")
"""What a source may say it provides; each brings fields of its own into the batch."""

Example = dict[str, np.ndarray]


@dataclass(frozen=True)
class Processor:
    """Turns a record and a random generator into an example (batch fields without B).

    provides: the source's own `provides`; every record must have what it promises.
    answers: the closed answer vocabulary, needed where questions are provided.
    augment: a name in AUGMENTATIONS, used in training only; `flip=False` takes the flip out,
        which is needed where captions say left and right.
    mlm: masking of captions, or None for no masked fields.
    train: draws one of the captions and augments; otherwise first caption, plain resize.
    text_style: a name in TEXT_STYLES, cutting at `max_words` words before tokenisation.
    foils: adds one of the record's "near_misses", where the source provides them.
    tags: appends the region labels as a second segment (OSCAR), which adds text_segments.
    """

    tokenizer: Tokenizer
    provides: frozenset[str]
    image_size: int = 256
    text_length: int = 25
    question_length: int = 25
    regions: int = 36
    answers: tuple[str, ...] = ()
    augment: str = "none"
    flip: bool = True
    mlm: Masking | None = None
    train: bool = True
    add_sep: bool = False
    text_style: str = "albef"
    max_words: int = 30
    foils: bool = False
    tags: bool = False

    def __post_init__(self):
        for name in self.provides:
            if name not in PROVIDES:
                raise ValueError(
                    f'unknown entry "{name}" in provides.{nearest(name, PROVIDES)} '
                    f"Known: {', '.join(PROVIDES)}"
                )
        for name in ("image_size", "text_length", "question_length", "regions", "max_words"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        AUGMENTATIONS.get_known(self.augment)
        TEXT_STYLES.get_known(self.text_style)
        if "question" in self.provides and not self.answers:
            raise ValueError("the source provides questions, but the answer vocabulary is empty")
        if self.tags and not {"regions", "caption"} <= self.provides:
            raise ValueError("tags need a source that provides captions and regions")

    def __call__(self, record: Mapping[str, Any], rng: np.random.Generator) -> Example:
        """Returns the example; ValueError or FileNotFoundError says what ails the record."""
        example: Example = {"image_id": _image_id(record)}
        labels: list[str] = []
        if "image" in self.provides or "regions" in self.provides:
            pixels, labels = self._picture(record, rng)
            example |= pixels
        if "caption" in self.provides:
            example |= self._caption(record, labels, rng)
        if self.foils and "foils" in self.provides:
            example |= self._foil(record, rng)
        if "question" in self.provides:
            example |= self._question(record)
        return example

    @functools.cached_property
    def _steps(self) -> Augmentation:
        steps = AUGMENTATIONS[self.augment if self.train else "none"]
        return replace(steps, flip=steps.flip and self.flip)

    @functools.cached_property
    def _answer_index(self) -> dict[str, int]:
        return {answer: index for index, answer in enumerate(self.answers)}

    def _picture(
        self, record: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[Example, list[str]]:
        """Returns the fields of the picture and the labels of the regions kept."""
        image = decode(_take(record, "image"))
        boxes = None
        if "regions" in self.provides:
            height, width = image.shape[:2]
            boxes = unit_boxes(_take(record, "boxes"), width, height)
        image, boxes = augment(image, boxes, self.image_size, rng, self._steps)
        if boxes is None:
            return {"image": image}, []
        boxes, visible = visible_boxes(boxes)
        kept = np.flatnonzero(visible)[: self.regions]
        fields = self._regions(boxes[kept]) | {"image": image}
        return fields, [record["labels"][i] for i in kept] if self.tags else []

    def _regions(self, boxes: np.ndarray) -> Example:
        """Pads boxes [N, 4] to the fixed number of regions."""
        padded = np.zeros((self.regions, 4), np.float32)
        padded[: len(boxes)] = boxes
        return {"region_boxes": padded, "region_mask": np.arange(self.regions) < len(boxes)}

    def _caption(
        self, record: Mapping[str, Any], labels: list[str], rng: np.random.Generator
    ) -> Example:
        captions = _take(record, "captions")
        first = int(rng.integers(len(captions))) if self.train and len(captions) > 1 else 0
        text = self._first_usable([*captions[first:], *captions[:first]])
        if self.tags:
            tags = " ".join(labels)
            ids, mask, segments = encode_pair(self.tokenizer, text, tags, self.text_length)
            example = {"text_ids": ids, "text_mask": mask, "text_segments": segments}
        else:
            ids, mask = self.tokenizer.encode(text, self.text_length, self.add_sep)
            example = {"text_ids": ids, "text_mask": mask}
        if self.mlm is not None:
            example["mlm_ids"], example["mlm_labels"] = self._masked(ids, mask, rng)
        return example

    def _foil(self, record: Mapping[str, Any], rng: np.random.Generator) -> Example:
        foils = _take(record, "near_misses")
        text = self._first_usable([foils[int(rng.integers(len(foils)))]])
        ids, mask = self.tokenizer.encode(text, self.text_length, self.add_sep)
        return {"foil_ids": ids, "foil_mask": mask}

    def _first_usable(self, captions: list[str]) -> str:
        """Returns the first caption that is not empty after cleaning."""
        clean, _ = TEXT_STYLES[self.text_style]
        for caption in captions:
            if not isinstance(caption, str):
                raise ValueError(f"caption is a {type(caption).__name__}, expected text")
            if text := clean(caption, self.max_words):
                return text
        raise ValueError(f"no caption with words in it: {captions!r}")

    def _masked(self, ids: np.ndarray, mask: np.ndarray, rng: np.random.Generator):
        tokenizer = self.tokenizer
        return mask_tokens(
            ids,
            mask,
            rng,
            mask_id=tokenizer.mask_id,
            size=tokenizer.size,
            special_ids=(tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id),
            masking=self.mlm,
        )

    def _question(self, record: Mapping[str, Any]) -> Example:
        _, clean = TEXT_STYLES[self.text_style]
        question = clean(_take(record, "question"), self.max_words)
        if not question:
            raise ValueError(f"the question has no words in it: {record['question']!r}")
        ids, mask = self.tokenizer.encode(question, self.question_length, self.add_sep)
        scores = np.zeros(len(self.answers), np.float32)
        for answer, score in _take(record, "answers").items():
            if not 0 <= score <= 1:
                raise ValueError(f'answer "{answer}" has score {score}, expected 0 to 1')
            if answer in self._answer_index:  # rare answers are outside the vocabulary
                scores[self._answer_index[answer]] = score
        return {"question_ids": ids, "question_mask": mask, "answer_scores": scores}


def _take(record: Mapping[str, Any], key: str) -> Any:
    """Returns a record's entry; a missing or None one is a ValueError."""
    if record.get(key) is None:
        raise ValueError(f'the record has no "{key}", it has {", ".join(record) or "nothing"}')
    return record[key]


def _image_id(record: Mapping[str, Any]) -> np.ndarray:
    identity = int(_take(record, "image_id"))
    if not -(2**31) <= identity < 2**31:
        raise ValueError(f"image_id {identity} does not fit 32 bits")
    return np.int32(identity)
