"""What evaluations give: figures, rows and examples; plain dataclasses, checked when made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlp_jax.metrics.checks import same_length

RETRIEVAL = "Retrieval"  # the group that comes first


@dataclass(frozen=True)
class TableRow:
    """One metric with what it is compared with.

    `model`, `chance` and `blind` are shares in 0..1 when `unit` is "percent", plain numbers when it
    is "number"; None leaves a cell empty. `note` says what the blind baseline is. Rows of one
    `group` stand together, and `headline` rows are also shown large at the top of the report.
    `interval` is where `model` would be for 95 of 100 such test sets.
    """

    metric: str
    model: float | None
    chance: float | None = None
    blind: float | None = None
    note: str = ""
    group: str = ""
    unit: str = "percent"
    headline: bool = False
    interval: tuple[float, float] | None = None

    def __post_init__(self):
        if self.unit not in ("percent", "number"):
            raise ValueError(f'unit is "{self.unit}", expected "percent" or "number"')

    def text(self, value: float | None) -> str:
        """Returns `value` as this row shows it: "71.3 %", "0.20 %", "12.5" or "–"."""
        if value is None or not math.isfinite(value):
            return "–"
        if self.unit == "number":
            return f"{value:,.1f}"
        return f"{100 * value:.2f} %" if 0 < value < 0.01 else f"{100 * value:.1f} %"


def check_image(name: str, image: Any) -> None:
    """Raises ValueError unless `image` is a uint8 array [H, W, 3]."""
    array = np.asarray(image)
    shape = array.shape
    if array.dtype != np.uint8 or len(shape) != 3 or shape[-1] != 3 or not min(shape):
        what = array.dtype if shape else type(image).__name__
        raise ValueError(f"{name} is {what} {list(shape)}, expected a uint8 array [H, W, 3]")


@dataclass(frozen=True)
class RetrievalExample:
    """One query with its best candidates, best first.

    `query` is a caption and `candidates` are images (uint8 [H, W, 3]), or the other way round.
    `correct[i]` says whether candidate i belongs to the query; `rank` is the place of the first
    right candidate (1 is first), wanted where none is among those shown.
    """

    query: str | np.ndarray
    candidates: Sequence[str] | Sequence[np.ndarray]
    correct: Sequence[bool]
    scores: Sequence[float] | None = None
    rank: int | None = None

    def __post_init__(self):
        same_length(candidates=self.candidates, correct=self.correct)
        if self.scores is not None:
            same_length(candidates=self.candidates, scores=self.scores)
        images = self.candidates if self.query_is_text else [self.query]
        texts = [self.query] if self.query_is_text else self.candidates
        for image in images:
            check_image("a retrieval example's image", image)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("expected one caption with images, or one image with captions")

    @property
    def query_is_text(self) -> bool:
        """Whether the query is a caption (text → image)."""
        return isinstance(self.query, str)


@dataclass(frozen=True)
class HeatMap:
    """Where each word of a caption looks: `maps` is [words, h, w] over the image, not negative."""

    image: np.ndarray
    words: Sequence[str]
    maps: np.ndarray

    def __post_init__(self):
        check_image("a heat map's image", self.image)
        if np.ndim(self.maps) != 3:
            raise ValueError(f"maps has shape {list(np.shape(self.maps))}, expected [words, h, w]")
        same_length(words=self.words, maps=self.maps)


@dataclass(frozen=True)
class AnswerExample:
    """A question about an image with the true and the predicted answer; `score` is in 0..1."""

    image: np.ndarray
    question: str
    answer: str
    prediction: str
    score: float
    confidence: float | None = None

    def __post_init__(self):
        check_image("an answer example's image", self.image)

    @property
    def right(self) -> bool:
        """Whether the prediction earns at least half the score."""
        return self.score >= 0.5


@dataclass(frozen=True)
class PairExample:
    """An image with its true caption and a foil; the model is right if `true_score` is higher."""

    image: np.ndarray
    truth: str
    foil: str
    true_score: float
    foil_score: float

    def __post_init__(self):
        check_image("a pair example's image", self.image)

    @property
    def right(self) -> bool:
        """Whether the truth scores above the foil."""
        return self.true_score > self.foil_score


@dataclass(frozen=True)
class Failure:
    """One way in which the model fails: a sentence, figures by kind of case, and examples.

    `shares` maps a kind of case (such as a question type) to its accuracy in 0..1, `chances` to
    what the best guess without the image reaches there. `confusions` are (what is right, what was
    said, how often). All are optional.
    """

    title: str
    note: str = ""
    shares: Mapping[str, float] = field(default_factory=dict)
    chances: Mapping[str, float] = field(default_factory=dict)
    examples: Sequence[AnswerExample | PairExample | RetrievalExample] = ()
    confusions: Sequence[tuple[str, str, int]] = ()


@dataclass
class Outcome:
    """What evaluations give: figures by flat name, rows of the table, material for the report.

    `submissions` are files of predictions, by name, in the form that a task's server reads.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[TableRow] = field(default_factory=list)
    retrieval: list[RetrievalExample] = field(default_factory=list)
    heat_maps: list[HeatMap] = field(default_factory=list)
    answers: list[AnswerExample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    attribution: list[str] = field(default_factory=list)
    submissions: dict[str, str] = field(default_factory=dict)

    def merge(self, other: "Outcome") -> None:
        """Adds everything of another outcome."""
        self.figures |= other.figures
        self.submissions |= other.submissions
        for name in ("rows", "retrieval", "heat_maps", "answers", "failures", "attribution"):
            getattr(self, name).extend(getattr(other, name))


def in_groups(rows: Sequence[TableRow]) -> list[TableRow]:
    """Returns the rows group by group: retrieval, then others in the order in which they occur."""
    groups = [RETRIEVAL, *dict.fromkeys(row.group for row in rows)]
    return sorted(rows, key=lambda row: groups.index(row.group))
