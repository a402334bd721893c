"""A source of drawn records, so that any experiment can be timed without its data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.config import ExperimentConfig
from vlp_jax.config.ranges import Count, Natural
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.base import Record, Source, check_index
from vlp_jax.encoders import VISION_ENCODERS

NAME = "drawn"
_RECORDS = 2**16
_SIDE = 640  # of the picture that boxes lie in
_WORDS = "dog cat man tree red blue on under street house water sky car green table chair".split()


@SOURCES.register(NAME)
@dataclass(eq=False)
class DrawnSource(Source):
    """Pictures, regions and texts drawn at random, with all that a task could ask for.

    words: of a text. canvas: side of a picture, 0 for none. regions: of a picture, 0 for none.
    feature_width: of a region. objects, attributes: classes of regions. scores: classes whose
    shares a region has. answers: how many there are, 0 for no questions.
    """

    words: Count = 25
    canvas: Natural = 0
    regions: Natural = 0
    feature_width: Natural = 2048
    objects: Count = 1600
    attributes: Count = 400
    scores: Count = 1601
    answer_count: Natural = 0

    def __post_init__(self):
        super().__post_init__()
        regions = {"region_features", "region_classes", "region_class_scores"}
        self.provides = frozenset(
            {"caption"}
            | ({"image"} if self.canvas else set())
            | (regions if self.regions else set())
            | ({"question"} if self.answer_count else set())
        )

    def __len__(self) -> int:
        return _RECORDS

    def __getitem__(self, index: int) -> Record:
        index = check_index(index, _RECORDS)
        rng = np.random.default_rng((self.seed, index))
        text = lambda: " ".join(rng.choice(_WORDS, self.words))
        record = {"image_id": index, "captions": [text(), text()]}
        if self.canvas:
            record["image"] = rng.integers(0, 256, (self.canvas, self.canvas, 3), np.uint8)
        if self.regions:
            record |= self._regions(rng)
        if self.answer_count:
            answer = f"answer {rng.integers(self.answer_count)}"
            record |= {"question": text(), "answers": {answer: 1.0}}
        return record

    def _regions(self, rng: np.random.Generator) -> Record:
        count, sure = self.regions, np.full(self.regions, 0.5, np.float32)
        corners = rng.uniform(0, _SIDE / 2, (count, 2))
        boxes = np.concatenate([corners, corners + _SIDE / 4], axis=1)
        return {
            "width": _SIDE,
            "height": _SIDE,
            "boxes": boxes.astype(np.float32),
            "labels": list(rng.choice(_WORDS, count)),
            "region_features": rng.random((count, self.feature_width), np.float32),
            "region_labels": rng.integers(0, self.objects, count),
            "region_confidence": sure,
            "region_attributes": rng.integers(0, self.attributes, count),
            "region_attribute_confidence": sure,
            "region_class_scores": np.full((count, self.scores), 1 / self.scores, np.float32),
        }

    def texts(self) -> Iterator[str]:
        """Yields all words."""
        yield " ".join(_WORDS)

    def answers(self) -> tuple[str, ...]:
        """Returns "answer 0" and so on."""
        return tuple(f"answer {i}" for i in range(self.answer_count))

    def region_classes(self) -> tuple[str, ...]:
        """Returns "object 0" and so on."""
        return tuple(f"object {i}" for i in range(self.objects)) if self.regions else ()

    def region_attributes(self) -> tuple[str, ...]:
        """Returns "attribute 0" and so on."""
        return tuple(f"attribute {i}" for i in range(self.attributes)) if self.regions else ()


def options_for(config: ExperimentConfig) -> dict[str, Any]:
    """Returns the options with which the source feeds an experiment's model at full length."""
    model, data = config.model, config.data
    reads = VISION_ENCODERS.get_known(model.vision, "config.model.vision").reads
    options: dict[str, Any] = {"words": data.text_length}
    if "image" in reads:
        options["canvas"] = data.image_size
    else:
        pixels = 3 * data.region_pixels**2
        width = pixels or model.vision_args.get("feature_width", DrawnSource.feature_width)
        options |= {"regions": data.regions, "feature_width": width}
    for args in model.heads.values():
        options |= {name: args[name] for name in ("objects", "attributes") if args.get(name)}
    if classes := model.heads.get("region_classifier", {}).get("classes"):
        options["scores"] = classes
    return options | _questions(model.heads, config.tasks)


def _questions(heads: Mapping[str, Mapping], tasks: Mapping[str, Any]) -> dict[str, int]:
    """Returns how many answers there are, as many as a head knows."""
    if not {"vqa", "gqa"} & tasks.keys():
        return {}
    known = (heads.get(name, {}).get("classes") for name in ("vqa", "gqa"))
    return {"answer_count": next(filter(None, known), 100)}
