"""Sizes of a model that follow from the data: words, pixels, features, answers, classes."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vlp_jax.config import DataConfig
from vlp_jax.data.batch import FIELDS
from vlp_jax.data.vocabulary import Vocabulary

Batches = Mapping[str, Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Sizes:
    """What the data of a run say about sizes; 0 where they say nothing.

    Attributes:
      words: word pieces of the tokenizer. image_size: side of a picture in pixels.
      feature_width: numbers of a region's feature. vocabulary: answers and classes by name.
      widths: last dimension of the fields of regions that have one.
    """

    words: int
    image_size: int
    feature_width: int
    vocabulary: Vocabulary
    widths: Mapping[str, int]

    def of_list(self, name: str) -> "Sizes":
        """Returns the same with the answers of a list, see `Vocabulary.of_list`."""
        return dataclasses.replace(self, vocabulary=self.vocabulary.of_list(name))


def read_sizes(config: DataConfig, vocabulary: Vocabulary, batches: Batches) -> Sizes:
    """Returns the sizes; `batches` hold one batch of each source, which must agree."""
    # Those with one number a region, of which sources may have more or fewer, have no width.
    wide = [name for name, field in FIELDS.items() if field.dims[-1] not in ("R", "B", "T")]
    names = {name for batch in batches.values() for name in batch if name in wide}
    widths = {name: _width(batches, name) for name in names if name.startswith("region_")}
    return Sizes(
        words=vocabulary.tokenizer.size,
        image_size=config.image_size,
        feature_width=widths.get("region_features", 0),
        vocabulary=vocabulary,
        widths=widths,
    )


def _width(batches: Batches, field: str) -> int:
    """Returns the last dimension that a field has in all sources."""
    widths = {name: batch[field].shape[-1] for name, batch in batches.items() if field in batch}
    if len(set(widths.values())) > 1:
        told = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise ValueError(
            f"the sources of config.data.source differ in the width of {field}: {told}"
        )
    return next(iter(widths.values()))
