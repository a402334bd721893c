"""From pictures, regions, texts and tags as users hold them to the batch a model reads."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Regions
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.inference.detector import Detector
from vlp_jax.inference.images import image_batch, listed, names_picture
from vlp_jax.inference.region_inputs import as_regions, chosen, region_fields
from vlp_jax.inference.texts import TextInputs
from vlp_jax.model import CAPTION, TextFields, VisionLanguageModel

logger = logging.getLogger(__name__)
_POSITIONS = 512  # of a text encoder that does not say

Fields = dict[str, np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """N pictures as batch fields; `regions` are those of each that are shown, if any."""

    fields: Fields
    regions: tuple[Regions, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.fields.values())))

    def with_fields(self, **fields: np.ndarray) -> "Pictures":
        """Returns the same with further fields."""
        return dataclasses.replace(self, fields=self.fields | fields)


@dataclass(frozen=True)
class Inputs:
    """Makes batches for the verbs of one model.

    size: side of its pictures in pixels. least: texts are padded at least as if they had so many
        tokens. detector: finds the regions in pictures for a model that reads regions.
    """

    module: VisionLanguageModel
    tokenizer: Tokenizer
    rules: InputRules
    size: int
    least: int = 0
    detector: Detector | None = None

    @property
    def reads_regions(self) -> bool:
        """Whether the model reads region features rather than pixels."""
        return "image" not in self.module.vision.reads

    def check_detector(self) -> None:
        """Raises ValueError for a detector that the model has no use for."""
        if self.detector is None:
            return
        if not self.reads_regions:
            raise ValueError("this model reads pixels: a `detector` is for models of regions")
        found, read = self.detector.feature_width, self.module.vision.feature_width
        if found != read:
            raise ValueError(
                f"the detector's features are {found} wide and the model reads {read}: the model "
                "was trained with another detector"
            )

    def pictures(self, verb: str, images: Any, regions: Any = None) -> Pictures:
        """Returns one picture or a list of them; ValueError if the model reads the other kind.

        Regions may be given as `regions` or in place of images.
        """
        if not self.reads_regions:
            if regions is not None:
                raise ValueError(f"{verb}: this model reads pixels; give `images` and no `regions`")
            self._need(images, f"{verb} needs images")
            return Pictures({"image": image_batch(images, self.size)})
        given = images if regions is None else regions
        pixels = is_pixels(given) and self.detector is None
        if given is None or regions is not None and images is not None or pixels:
            raise ValueError(
                f"{verb}: this model reads region features, not pixels: give `regions` (a Regions "
                "value, a (store, key) pair or a features file), a whole batch to `apply`, or a "
                "`detector` to `load`"
            )
        shown = [chosen(r, self.rules.regions) for r in self._regions(given)]
        width = self.module.vision.feature_width
        return Pictures(region_fields(shown, self.rules.global_region, width), tuple(shown))

    def pair(self, verb: str, images: Any, regions: Any = None) -> Pictures:
        """Returns pairs of pictures, given as (left, right), each one picture or a list of them.

        Fields have an axis [N, 2]; where the model joins the regions of both they are one list.
        """
        given = images if regions is None else regions
        if not isinstance(given, list | tuple) or len(given) != 2:
            raise ValueError(f"{verb} needs two pictures, as (left, right)")
        sides = [self._regions(x) if self.reads_regions else listed(x) for x in given]
        count = max(map(len, sides))
        if {len(side) for side in sides} - {1, count}:
            raise ValueError(
                f"{verb} was given {len(sides[0])} left and {len(sides[1])} right pictures"
            )
        joined = [picture for side in sides for picture in side * (count // len(side))]
        both = self.pictures(verb, *((None, joined) if self.reads_regions else (joined, None)))
        fields = dict(both.fields)
        if self.rules.pair_types is not None and self.reads_regions:
            types = np.repeat(np.array(self.rules.pair_types, np.int32), count)
            fields["region_types"] = np.broadcast_to(types[:, None], fields["region_mask"].shape)
        join = np.concatenate if self.rules.pictures_joined else np.stack
        paired = {name: join([x[:count], x[count:]], axis=1) for name, x in fields.items()}
        return Pictures(paired, both.regions)

    def _regions(self, given: Any) -> list[Regions]:
        """Returns regions as they are given or as the detector finds them in pictures."""
        if self.detector is not None and is_pixels(given):
            return self.detector(given)
        return as_regions(given)

    def texts(
        self, texts: Any, rules: TextRules, names: TextFields = CAPTION, question: bool = False
    ) -> Fields:
        """Returns ids and mask of one text or a list."""
        cleaned = self.encoder.cleaned(listed(texts), rules, question)
        return self.encoder.fields(cleaned, rules, names)

    def batch(
        self,
        verb: str,
        pictures: Pictures,
        texts: Any,
        rules: TextRules,
        *,
        names: TextFields = CAPTION,
        question: bool = False,
        seconds: Sequence[str] | None = None,
    ) -> Fields:
        """Returns pictures with their texts; one of either is paired with all of the other.

        seconds: the second part of the text of each picture, such as `tags`.
        """
        cleaned = self.encoder.cleaned(listed(texts), rules, question)
        count = max(len(pictures), len(cleaned))
        if {len(pictures), len(cleaned)} - {1, count}:
            what = "questions" if question else "texts"
            raise ValueError(
                f"{verb} was given {len(pictures)} images and {len(cleaned)} {what}; expected as "
                "many of both, or one of either"
            )
        if seconds is not None:
            cleaned, seconds = (list(x) * (count // len(x)) for x in (cleaned, seconds))
        fields = self.encoder.fields(cleaned, rules, names, seconds, self.rules.cut)
        return {
            name: np.broadcast_to(x, (count, *x.shape[1:])) if len(x) == 1 else x
            for name, x in (pictures.fields | fields).items()
        }

    def pair_batch(
        self, verb: str, pictures: Pictures, texts: Any, rules: TextRules, tags: Any = None
    ) -> Fields:
        """Returns pairs of pictures with one text each; `tags` are (left, right), if any."""
        if tags is None:
            return self.batch(verb, pictures, texts, rules)
        texts = listed(texts)
        joined = [t for side in tags for t in (side if isinstance(side, list) else [side])]
        cleaned = self.encoder.cleaned(texts, rules)
        if len(cleaned) != len(pictures) or len(joined) != 2 * len(pictures):
            raise ValueError(
                f"{verb} was given {len(pictures)} pairs, {len(cleaned)} texts and {len(joined)} "
                "tags; with tags it needs one text a pair and tags for both of its pictures"
            )
        words = [tag_text(x) for x in joined]
        made = self.encoder.fields(cleaned * 2, rules, CAPTION, words, self.rules.cut)
        count = len(cleaned)
        return pictures.fields | {n: np.stack([x[:count], x[count:]], 1) for n, x in made.items()}

    def tags(self, verb: str, pictures: Pictures, tags: Any) -> list[str] | None:
        """Returns the tags of each picture as one text; None for a model that reads none."""
        if not self.rules.tags:
            if tags is not None:
                raise ValueError(f"{verb}: this model was not trained with tags; give none")
            return None
        if tags is None:
            names = [regions.names for regions in pictures.regions]
            if not names or any(n is None for n in names):
                logger.warning("%s: this model was trained with tags, and none were given", verb)
                return None
            return [tag_text(n) for n in names]
        several = isinstance(tags, list | tuple) and len(pictures) > 1
        given = list(tags) if several else [tags]
        if len(given) != len(pictures):
            raise ValueError(f"{verb} was given {len(pictures)} pictures and {len(given)} tags")
        return [tag_text(x) for x in given]

    @cached_property
    def encoder(self) -> TextInputs:
        """What makes tokens of texts."""
        positions = getattr(self.module.text, "max_length", _POSITIONS)
        return TextInputs(self.tokenizer, positions, self.least)

    @staticmethod
    def _need(value: Any, message: str) -> None:
        if value is None:
            raise ValueError(message)


def tag_text(tags: str | Sequence[str]) -> str:
    """Returns tags as one text; OSCAR's files join them by ";", which becomes a blank."""
    text = tags if isinstance(tags, str) else " ".join(tags)
    return text.replace(";", " ").strip()


def is_pixels(value: Any) -> bool:
    """Tells what can only be meant as a picture."""
    first = value[0] if isinstance(value, list) and value else value
    first = str(first) if isinstance(first, Path) else first
    return names_picture(first) or isinstance(first, np.ndarray | bytes | Image.Image)
