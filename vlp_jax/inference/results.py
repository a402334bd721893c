"""What the verbs give: small values with the model's own numbers beside what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Answer:
    """An answer, its probability among all answers the model knows, and its logit."""

    text: str
    probability: float
    score: float = 0.0


@dataclass(frozen=True)
class Retrieved:
    """A candidate's place in the list given, and its score (higher is better)."""

    index: int
    score: float


@dataclass(frozen=True)
class FoundPicture:
    """A picture of a folder that a text has found, and its score (higher is better)."""

    path: Path
    score: float


@dataclass(frozen=True)
class Judgement:
    """Whether a sentence is true of two pictures, how probable that is, and both logits."""

    true: bool
    probability: float
    scores: tuple[float, float]


@dataclass(frozen=True)
class Entailment:
    """How a picture bears on a sentence, how probable that is, and the probability of each."""

    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Grounded:
    """The region an expression means.

    region: its number among the picture's regions as they were given; -1 is the whole picture
        (ViLBERT's region before the others).
    box: x1, y1, x2, y2 in pixels; shares of the picture where its size is not known.
    scores: those of all regions shown, in the order in which the model saw them. Where the model
        reads pixels, how much heat a box holds for its area; `probability` is its share of all.
    """

    region: int
    box: tuple[float, float, float, float]
    probability: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Choice:
    """The place of the best choice, its probability among all, and the score of each."""

    index: int
    text: str
    probability: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Caption:
    """A caption that a model has written.

    score: the sum of log probabilities over length^penalty; greedily written, their mean.
    ids: its tokens, from [CLS] to [SEP], then padding.
    """

    text: str
    score: float
    ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a model looks for each of the W whole words of a text, as it reads them.

    method: "gradcam", "attention" or "alignment", see `Model.explain`.
    picture: uint8 [H, W, 3] as the model reads it; beside regions the one that was given, or a
        white one of the same form.
    maps: float32 [words, rows, columns], not negative, over the whole picture; None of regions.
    weights: float32 [words, regions], not negative, of the regions shown; None of pixels.
    boxes: float32 [regions, 4] x1, y1, x2, y2 in pixels of `picture`. names: theirs, if known.
    probability: that text and picture belong together; None without a head for it.
    """

    words: tuple[str, ...]
    method: str
    picture: np.ndarray
    maps: np.ndarray | None = None
    weights: np.ndarray | None = None
    boxes: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    probability: float | None = None


def single(given: Any, found: Sequence) -> Any:
    """Returns the one result for one text, and all of them for a list."""
    return found[0] if isinstance(given, str) and len(found) == 1 else list(found)
