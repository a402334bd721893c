"""From one record of a source to one example of fixed shapes."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vlp_jax.config import nearest
from vlp_jax.data.answer_fields import AnswerFields
from vlp_jax.data.augment import AUGMENTATIONS, Augmentation, augment
from vlp_jax.data.boxes import unit_boxes
from vlp_jax.data.caption_fields import CaptionFields
from vlp_jax.data.entry import take
from vlp_jax.data.images import decode
from vlp_jax.data.masking import Masking
from vlp_jax.data.pairing import Pairing
from vlp_jax.data.question_fields import QuestionFields
from vlp_jax.data.region_fields import CLASS_FIELDS, RegionFields, Regions
from vlp_jax.data.region_masking import RegionMasking
from vlp_jax.data.text import TEXT_STYLES
from vlp_jax.data.tokenizer import Tokenizer

PROVIDES = (
    "image",
    "caption",
    "question",
    "more_questions",
    "regions",
    "foils",
    "region_features",
    *CLASS_FIELDS,
)
"""What a source may say it provides; each brings fields of its own into the batch."""

Example = dict[str, np.ndarray]
Others = Callable[[int], Mapping[str, Any]]

# The draws of other records: each use of one has its own, so that they are independent.
_STRANGER, _FOREIGN_REGIONS = 0, 1


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
    questions: how many of an image's questions are in a training example; above 1 as an axis [K].
    answer_texts: spells the answers to questions as well, or None.
    foils: adds one of the record's "foils", where the source provides them.
    tags: appends the region labels as a second segment (OSCAR), which adds text_segments.
    region_pixels: side to which each box is resized to be its region's feature; 0 makes none.
    global_region, region_masking: see `RegionFields`; regions are hidden in training only.
    pairing: which texts are exchanged for another image's, in training only.
    predict_wrong_pairs: gives labels to masked words that were exchanged, and to hidden regions
        beside them.
    """

    tokenizer: Tokenizer
    provides: frozenset[str]
    image_size: int = 256
    text_length: int = 25
    question_length: int = 25
    regions: int = 36
    answers: tuple[str, ...] = ()
    questions: int = 1
    answer_texts: AnswerFields | None = None
    augment: str = "none"
    flip: bool = True
    mlm: Masking | None = None
    train: bool = True
    add_sep: bool = False
    text_style: str = "albef"
    max_words: int = 30
    foils: bool = False
    tags: bool = False
    region_pixels: int = 0
    global_region: bool = False
    region_masking: RegionMasking | None = None
    pairing: Pairing = Pairing()
    predict_wrong_pairs: bool = True

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
        if "question" in self.provides:
            self._check_questions()
        if self.region_pixels < 0:
            raise ValueError(f"region_pixels is {self.region_pixels}, expected at least 0")
        self._check_regions()

    def _check_questions(self) -> None:
        if self.questions > 1 and "more_questions" not in self.provides:
            raise ValueError(
                f"questions = {self.questions}, but the source gives one question an image: set "
                "questions = 1"
            )
        _ = self._questions

    def _check_regions(self) -> None:
        """Raises ValueError where options need what the source does not provide."""
        has_regions = {"regions", "region_features"} & self.provides
        if self.tags and not (has_regions and "caption" in self.provides):
            raise ValueError("tags need a source that provides captions and regions")
        if self.region_pixels and "region_features" in self.provides:
            raise ValueError(
                f"region_pixels = {self.region_pixels} cuts features out of pictures, and the "
                "source provides region_features: set region_pixels = 0"
            )
        if self.pairing.second == "tags" and not self.tags:
            raise ValueError("this pairing exchanges tags, which the text has not: set tags = true")
        if self.pairing.second == "caption" and self.tags:
            raise ValueError("this pairing shows a second caption, not tags: set tags = false")

    def __call__(
        self, record: Mapping[str, Any], rng: np.random.Generator, others: Others | None = None
    ) -> Example:
        """Returns the example; ValueError or FileNotFoundError says what ails the record.

        `others` gives a record of another image for each number of a draw; pairings and region
        maskings that show one need it.
        """
        others = others or _no_others
        example: Example = {"image_id": _image_id(record)}
        image, regions = self._picture(record, rng)
        if image is not None:
            example["image"] = image
        if regions is not None:
            foreign = lambda: self._picture(others(_FOREIGN_REGIONS), rng)[1].features
            example |= self._regions(regions, rng, foreign)
        if "caption" in self.provides:
            labels = [take(record, "labels")[i] for i in regions.kept] if self.tags else []
            example |= self._captions(record, labels, rng, lambda: others(_STRANGER))
        if self.foils and "foils" in self.provides:
            example |= self._foil(record, rng)
        if "question" in self.provides:
            example |= self._questions(record, rng)
        unpredicted = not self.predict_wrong_pairs and example.get("pair_labels", 0) > 0
        if unpredicted and "region_hidden" in example:
            example["region_hidden"] = np.zeros_like(example["region_hidden"])
        return example

    @functools.cached_property
    def _steps(self) -> Augmentation:
        steps = AUGMENTATIONS[self.augment if self.train else "none"]
        return replace(steps, flip=steps.flip and self.flip)

    @functools.cached_property
    def _regions(self) -> RegionFields:
        masking = self.region_masking if self.train else None
        return RegionFields(self.regions, self.region_pixels, self.global_region, masking)

    @functools.cached_property
    def _questions(self) -> QuestionFields:
        return QuestionFields(
            self.tokenizer,
            self.question_length,
            self.answers,
            add_sep=self.add_sep,
            style=self.text_style,
            max_words=self.max_words,
            count=self.questions if self.train else 1,
            answer_texts=self.answer_texts,
        )

    @functools.cached_property
    def _captions(self) -> CaptionFields:
        return CaptionFields(
            self.tokenizer,
            self.text_length,
            add_sep=self.add_sep,
            style=self.text_style,
            max_words=self.max_words,
            regions=self.regions,
            tags=self.tags,
            masking=self.mlm,
            pairing=self.pairing,
            predict_wrong_pairs=self.predict_wrong_pairs,
            train=self.train,
        )

    def _picture(
        self, record: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray | None, Regions | None]:
        """Returns the augmented picture and the regions, each None where there is none.

        A detector's boxes belong to the whole picture and do not follow its augmentation.
        """
        image = boxes = regions = None
        if "image" in self.provides or "regions" in self.provides:
            image = decode(take(record, "image"))
            if self._boxes_move:
                height, width = image.shape[:2]
                boxes = unit_boxes(take(record, "boxes"), width, height)
            image, boxes = augment(image, boxes, self.image_size, rng, self._steps)
        if boxes is not None:
            regions = self._regions.of_picture(record, image, boxes, self.provides)
        elif "region_features" in self.provides:
            regions = self._regions.of_detector(record, self.provides)
        return image, regions

    @property
    def _boxes_move(self) -> bool:
        return "regions" in self.provides and "region_features" not in self.provides

    def _foil(self, record: Mapping[str, Any], rng: np.random.Generator) -> Example:
        foils = take(record, "foils")
        text = self._captions.clean([foils[int(rng.integers(len(foils)))]])
        ids, mask = self.tokenizer.encode(text, self.text_length, self.add_sep)
        return {"foil_ids": ids, "foil_mask": mask}


def _no_others(draw: int) -> Mapping[str, Any]:
    raise ValueError(
        "a pairing or a region masking that shows another image needs the other records: read the "
        "source through a pipeline"
    )


def _image_id(record: Mapping[str, Any]) -> np.ndarray:
    identity = int(take(record, "image_id"))
    if not -(2**31) <= identity < 2**31:
        raise ValueError(f"image_id {identity} does not fit 32 bits")
    return np.int32(identity)
