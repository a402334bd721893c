"""What an evaluation task is given, and what it gives back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vlp_jax.config import ExperimentConfig, Registry
from vlp_jax.data.assemble import Vocabulary, make_processor, open_source
from vlp_jax.data.pipeline import evaluation_batches
from vlp_jax.data.records import SkippedRecords
from vlp_jax.data.sources.base import Source
from vlp_jax.model.bound import Bound
from vlp_jax.tasks.outcome import AnswerExample, Failure, HeatMap, RetrievalExample, TableRow

TASKS = Registry("evaluation task")


@dataclass(frozen=True)
class Context:
    """A model to evaluate, with the experiment it comes from; each split is opened once."""

    config: ExperimentConfig
    vocabulary: Vocabulary
    bound: Bound
    _opened: dict[tuple[str, str], Source] = field(default_factory=dict)
    _skipped: dict[int, SkippedRecords] = field(default_factory=dict)

    @property
    def skipped_total(self) -> int:
        """The number of records that could not be used, in all splits that were read."""
        return sum(skipped.total for skipped in self._skipped.values())

    def source(self, name: str, split: str) -> Source:
        """Returns a split; an empty name stands for the first source of the experiment."""
        key = name or self.config.data.sources[0], split
        if key not in self._opened:
            self._opened[key] = open_source(self.config.data, *key)
        return self._opened[key]

    def batches(self, source: Source, limit: int | None) -> Iterator[dict[str, np.ndarray]]:
        """Yields the first `limit` records in order, in padded batches."""
        processor = make_processor(self.config.data, source, self.vocabulary, train=False)
        size = self.config.evaluation.batch_size
        # By source, because record numbers of different sources are not the same records.
        skipped = self._skipped.setdefault(id(source), SkippedRecords())
        return evaluation_batches(source, processor, size, limit, skipped=skipped)

    def encode_texts(self, texts: list[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and masks [N, length] of texts that are cleaned already."""
        add_sep = self.config.data.add_sep
        pairs = [self.vocabulary.tokenizer.encode(t, length, add_sep) for t in texts]
        return np.stack([i for i, _ in pairs]), np.stack([m for _, m in pairs])


@dataclass
class Outcome:
    """Figures by flat name, rows of the table, and material for the report."""

    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[TableRow] = field(default_factory=list)
    retrieval: list[RetrievalExample] = field(default_factory=list)
    heat_maps: list[HeatMap] = field(default_factory=list)
    answers: list[AnswerExample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    attribution: list[str] = field(default_factory=list)

    def merge(self, other: "Outcome") -> None:
        """Adds everything of another outcome."""
        self.figures |= other.figures
        for name in ("rows", "retrieval", "heat_maps", "answers", "failures", "attribution"):
            getattr(self, name).extend(getattr(other, name))
