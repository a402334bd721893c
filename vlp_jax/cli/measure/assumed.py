"""What a run's data would be like where they are not there: records of the right sizes."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.config import DataConfig, ModelConfig
from vlp_jax.data.sources.base import Record, Source
from vlp_jax.data.sources.task_files import FORMS
from vlp_jax.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.encoders import VISION_ENCODERS

# Of BERT, of the detectors of Visual Genome, and of VQA v2, where the model does not say.
_WORDS, _FEATURES, _CLASSES, _ANSWERS = 30_522, 2048, 1601, 3129
_RECORDS = 2**20
_SIDE = 64
_REGION_FIELDS = frozenset({"region_features", "region_classes", "region_class_scores"})


class StandIn(Source):
    """Records of zeros that hold what `provides` names, as large as the model expects."""

    def __init__(self, data: DataConfig, model: ModelConfig, provides: Iterable[str]):
        super().__init__()
        self.provides = frozenset(provides)
        self._data = data
        self._model = model

    def __len__(self) -> int:
        return max(_RECORDS, self._data.batch_size)

    def __getitem__(self, index: int) -> Record:
        record = {"image_id": index % len(self), "captions": ["word0", "word1 word2"]}
        record |= {"question": "word0", "answers": {"answer 0": 1.0}, "label": 0}
        record["more_questions"] = [{"question": "word1", "answers": {"answer 0": 1.0}}]
        record |= {"target_box": [0.0, 0.0, 1.0, 1.0], "picture_size": (_SIDE, _SIDE)}
        record |= {"choices": ["word0"] * 4, "foils": ["word1"], "near_misses": ["word1"]}
        record |= {"proposals": np.array([[0, 0, _SIDE, _SIDE]], np.float32)}
        picture = self._picture() | {"image_id": record["image_id"]}
        if "pictures" in self.provides:
            return record | {"pictures": [picture, picture]}
        return record | picture

    def texts(self) -> Iterator[str]:
        """Yields one text."""
        yield "word0 word1 word2"

    def answers(self) -> tuple[str, ...]:
        """Returns as many answers as the answer head has classes."""
        count = _head_size(self._model, ("classes",), ("vqa", "gqa")) or _ANSWERS
        return tuple(f"answer {i}" for i in range(count))

    def _picture(self) -> Record:
        record = self._regions()
        if "image" in self.provides:
            record["image"] = np.zeros((_SIDE, _SIDE, 3), np.uint8)
        if "region_features" in self.provides:
            shape = len(record["boxes"]), feature_width(self._model)
            features = {"region_features": np.zeros(shape, np.float32)}
            record |= features | {"width": _SIDE, "height": _SIDE}
        return record

    def _regions(self) -> Record:
        count = self._data.regions
        classes = _head_size(self._model, ("classes", "objects"), ("region_classifier", "regions"))
        sure, first = np.ones(count, np.float32), np.zeros(count, np.int32)
        return {
            "boxes": np.tile(np.array([0, 0, _SIDE, _SIDE], np.float32), (count, 1)),
            "labels": ["word0"] * count,
            "region_labels": first,
            "region_confidence": sure,
            "region_attributes": first,
            "region_attribute_confidence": sure,
            "region_class_scores": np.full((count, classes or _CLASSES), 1e-3, np.float32),
        }


def provided(model: ModelConfig, kind: type[Source], options: dict[str, Any]) -> frozenset[str]:
    """Returns what the records of a source that is not there would hold, by its kind.

    Where its kind does not say: captions, questions, and what the vision encoder reads.
    """
    reads = VISION_ENCODERS.get_known(model.vision, "config.model.vision").reads
    picture = frozenset({"image"}) if "image" in reads else _REGION_FIELDS
    if form := FORMS.get(options.get("form")):
        proposed = {"proposals"} if options.get("proposals") else set()
        return form.provides | picture | proposed
    return kind.provides or picture | {"caption", "question"}


def needs_vocabulary(data: DataConfig, absent: bool) -> bool:
    """Says whether the vocabulary cannot be had: fitted to data that are absent, or no file."""
    if data.vocabulary == "fit":
        return absent
    return data.vocabulary != "bert-base-uncased" and not Path(data.vocabulary).exists()


def assumed_vocabulary(model: ModelConfig, sources: Iterable[Source]) -> Vocabulary:
    """Returns a vocabulary of the size that the model has, with the answers of the sources."""
    made = (f"word{i}" for i in range(words(model) - len(SPECIAL_TOKENS)))
    asking = (source for source in sources if "question" in source.provides)
    answers = dict.fromkeys(answer for source in asking for answer in source.answers())
    return Vocabulary(Tokenizer.from_vocab([*SPECIAL_TOKENS, *made]), tuple(answers))


def words(model: ModelConfig) -> int:
    """Returns how many word pieces the model knows, or BERT's number."""
    return model.text_args.get("vocab_size") or _WORDS


def feature_width(model: ModelConfig) -> int:
    """Returns how many numbers a region's feature has, or the detectors' usual number."""
    return model.vision_args.get("feature_width") or _FEATURES


def _head_size(model: ModelConfig, sizes: tuple[str, ...], names: tuple[str, ...]) -> int:
    heads = (model.heads[name] for name in names if name in model.heads)
    return next((args[size] for args in heads for size in sizes if args.get(size)), 0)
