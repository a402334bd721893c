"""Evaluation: what a task's measurements are given, and how all of an experiment's are run."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import numpy as np

from vlp_jax.config import ExperimentConfig, nearest
from vlp_jax.config.ranges import Count
from vlp_jax.data.assemble import Feed, make_chain, open_source, source_class
from vlp_jax.data.pipeline import evaluation_batches
from vlp_jax.data.read_ahead import Reading
from vlp_jax.data.records import SkippedRecords, usable_records
from vlp_jax.data.sizes import read_sizes
from vlp_jax.data.sources.base import Source
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import Forward, Views, VisionLanguageModel
from vlp_jax.tasks.base import Task
from vlp_jax.tasks.build import build_tasks
from vlp_jax.tasks.means import check_means, means_of
from vlp_jax.tasks.outcome import Outcome, in_groups

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """One measurement of a task; subclasses add settings and say in `__call__` what is measured.

    It stands in `config.tasks.<task>.evaluate.<name>`. `source` is the first one of the task, or of
    the experiment, unless named; of its `split` the first `limit` records count, all of them for
    None.

    Attributes:
      needs: what the source has to provide; "a|b" is one or the other.
      heads: what the model has to have; the task's own unless named.
    """

    source: str = ""
    split: str = "test"
    limit: Count | None = 512

    needs: ClassVar[tuple[str, ...]] = ()
    heads: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        """Raises ValueError where a name stands alone, whose letters would be taken for names."""
        for name, given in (("needs", cls.needs), ("heads", cls.heads)):
            if isinstance(given, str):
                raise ValueError(f"{cls.__name__}.{name} is {given!r}, expected a tuple of names")

    def figures(self, name: str) -> frozenset[str] | None:
        """Returns the names of all figures it may give, None if that cannot be said."""
        return None

    def __call__(self, run: "Run", name: str) -> Outcome:
        """Returns figures, whose names begin with `name`, rows and examples."""
        raise NotImplementedError


@dataclass(frozen=True)
class Run:
    """A model to evaluate on a task, with the experiment it comes from; a split is opened once.

    What a source has of its own stands in `config.data`, `vocabulary` and `forward` already, see
    `run_of`.
    """

    config: ExperimentConfig
    vocabulary: Vocabulary
    forward: Forward
    task: Task
    _opened: dict[tuple[str, str], Source] = field(default_factory=dict)
    _skipped: dict[int, SkippedRecords] = field(default_factory=dict)

    @property
    def texts(self) -> TextEncoder:
        """How texts are read."""
        return Feed(self.config.data, frozenset(), self.vocabulary, train=False).texts

    def source(self, evaluation: Evaluation) -> Source:
        """Returns the split that an evaluation is about."""
        return self._open(evaluation.source, evaluation.split)

    def images(self, evaluation: Evaluation) -> Source:
        """Returns the same with each image once, and all of its captions."""
        key = self._named(evaluation.source), f"{evaluation.split} by image"
        if key not in self._opened:
            self._opened[key] = self.source(evaluation).by_image()
        return self._opened[key]

    def training_source(self, evaluation: Evaluation) -> Source:
        """Returns the training split of the same source, on which blind guesses are fitted."""
        return self._open(evaluation.source, "train")

    def batches(self, source: Source, limit: int | None) -> Iterator[dict[str, np.ndarray]]:
        """Yields the first `limit` records in order, in padded batches."""
        feed = Feed(self.config.data, source.provides, self.vocabulary, train=False)
        chain = make_chain(feed, self.task.checked_transforms)
        size, skipped = self.config.evaluation.batch_size, self._skipped_of(source)
        reading = Reading.of(self.config.data)
        return evaluation_batches(source, chain, size, limit, skipped=skipped, reading=reading)

    def collect(
        self,
        source: Source,
        limit: int | None,
        function: Callable[[Views], Any],
        keep: Callable[[Any, dict[str, np.ndarray]], tuple[np.ndarray, ...]],
    ) -> tuple[np.ndarray, ...]:
        """Returns the rows that are records, and for those what `keep` makes of each batch.

        keep: what `function` gives of a batch, arrays of the host, and the batch → arrays [B, …]
        to hold on to.
        """
        parts = []
        for batch in self.batches(source, limit):
            made = jax.tree.map(np.asarray, self.forward(function, batch))
            parts.append((batch["example_mask"], *keep(made, batch)))
        mask, *kept = (np.concatenate(x) for x in zip(*parts))
        rows = np.flatnonzero(mask)
        return rows, *(x[rows] for x in kept)

    def records(self, source: Source, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Returns row → record for those that can be read; others are counted as skipped."""
        return usable_records(source.__getitem__, rows, self._skipped_of(source))

    def annotations(self, source: Source, rows: Iterable[int]) -> dict[int, dict[str, Any]]:
        """Returns the same without pictures, where a source can leave them unread."""
        return usable_records(source.annotation, rows, self._skipped_of(source))

    def _open(self, name: str, split: str) -> Source:
        key = self._named(name), split
        if key not in self._opened:
            self._opened[key] = open_source(self.config.data, *key)
        return self._opened[key]

    def _named(self, name: str) -> str:
        return name or self.task.home(self.config.data)

    def _skipped_of(self, source: Source) -> SkippedRecords:
        # By source, because record numbers of different sources are not the same records.
        return self._skipped.setdefault(id(source), SkippedRecords())


def run_of(
    config: ExperimentConfig,
    vocabulary: Vocabulary,
    forward: Forward,
    task: Task,
    evaluation: Evaluation,
    *shared: Any,
) -> Run:
    """Returns what an evaluation is given: all as its source has it (`config.data.per_source`).

    The answers are those that the task is trained on. `shared` are what runs have together.
    """
    data, home = config.data, task.home(config.data)
    source = evaluation.source or home
    words = vocabulary.of_list(data.own(home).answers)
    own = dataclasses.replace(config, data=data.of_source(source))
    return Run(own, words, forward.of_task(data.own(source).task_token), task, *shared)


def evaluate(config: ExperimentConfig, vocabulary: Vocabulary, forward: Forward) -> Outcome:
    """Returns the merged outcome of all that the tasks of an experiment measure.

    An evaluation whose source is not part of the experiment, or gives no captions or questions
    where it needs them, is left out with a warning. Raises ValueError for unknown tasks, sources,
    splits and settings.
    """
    outcome, opened, skipped = Outcome(), {}, {}
    tasks = build_tasks(config)
    check_evaluations(config, tasks)
    for task in tasks.values():
        for name, evaluation in task.evaluate.items():
            run = run_of(config, vocabulary, forward, task, evaluation, opened, skipped)
            reason = _cannot_run(run, evaluation)
            if reason:
                logger.warning("evaluation %s is left out: %s", name, reason)
            else:
                found = evaluation(run, name)
                if not isinstance(found, Outcome):
                    what = type(found).__name__
                    raise ValueError(f"evaluation {name} gives {what}, expected an Outcome")
                outcome.merge(found)
    outcome.rows = in_groups(outcome.rows)
    outcome.figures |= means_of(config.evaluation.means, outcome.figures)
    outcome.figures["skipped_records"] = _skipped_records(opened.values(), skipped)
    return outcome


def _skipped_records(opened: Iterable[Source], skipped: Mapping[int, SkippedRecords]) -> int:
    """Returns how many records of the sources that were read could not be used, and says so.

    What sources left out themselves counts once, although several splits may list it.
    """
    left_out = {reason for s in opened if id(s) in skipped for reason in s.skipped}
    count = len(left_out) + sum(records.total for records in skipped.values())
    if count:
        logger.warning("evaluation skipped %d records that can't be used", count)
    return count


def check_evaluations(config: ExperimentConfig, tasks: Mapping[str, Task]) -> None:
    """Raises ValueError, with the path in the config, for a source or split that cannot be."""
    for path, (task, evaluation) in _by_path(tasks).items():
        if not isinstance(evaluation, Evaluation):
            raise ValueError(
                f"{path}: the task measures nothing, for its class has no field "
                "`evaluate: dict[str, ...]` of an Evaluation"
            )
        name = evaluation.source or task.home(config.data)
        known = source_class(config.data, name, f"{path}.source").split_names
        if known and evaluation.split not in known:
            raise ValueError(
                f'{path}.split: source {name} has no split "{evaluation.split}".'
                f"{nearest(evaluation.split, known)} Known: {', '.join(known)}"
            )


def check_before_training(
    config: ExperimentConfig,
    vocabulary: Vocabulary,
    model: VisionLanguageModel,
    tasks: Mapping[str, Task],
    sources: Mapping[str, Source],
) -> None:
    """Says which evaluations will be left out, and why, before a run has cost anything.

    `sources` are the training splits. Where the run evaluates on its way, the splits to evaluate
    are opened. They have passed `check_evaluations`. Raises ValueError if none of those that will
    run gives `config.evaluation.best`, or what one of the `means` is of, FileNotFoundError for data
    that are not there.
    """
    opened = {(name, "train"): source for name, source in sources.items()}
    figures: list[frozenset[str] | None] = []
    for name, task in tasks.items():
        for key, evaluation in task.evaluate.items():
            place = evaluation.source or task.home(config.data), evaluation.split
            stand_ins = {} if config.training.evaluate_every else _stand_ins(place, sources)
            shared = {**opened, **stand_ins}
            run = run_of(config, vocabulary, Forward(model, None), task, evaluation, shared)
            try:
                reason = _cannot_run(run, evaluation)
            except OSError as error:
                raise type(error)(f"config.tasks.{name}.evaluate.{key}: {error}") from None
            if reason:
                logger.warning("evaluation %s will be left out: %s", key, reason)
            else:
                figures.append(evaluation.figures(key))
    _check_best(config, [*figures, check_means(config.evaluation.means, figures)])


def _stand_ins(place: tuple[str, str], sources: Mapping[str, Source]) -> dict:
    """The training split provides what the split to evaluate does, and is open already."""
    return {place: sources[place[0]]} if place[0] in sources else {}


def _check_best(config: ExperimentConfig, figures: list[frozenset[str] | None]) -> None:
    best, known = config.evaluation.best, frozenset().union(*(given or () for given in figures))
    if best is None or best in known or None in figures:
        return
    if not known:
        raise ValueError(f'config.evaluation.best = "{best}": there is no evaluation that can run')
    raise ValueError(
        f'config.evaluation.best = "{best}": no evaluation gives such a figure.'
        f"{nearest(best, known)} Known: {', '.join(sorted(known))}"
    )


def _by_path(tasks: Mapping[str, Task]) -> dict[str, tuple[Task, Evaluation]]:
    return {
        f"config.tasks.{name}.evaluate.{key}": (task, evaluation)
        for name, task in tasks.items()
        for key, evaluation in task.evaluate.items()
    }


def _cannot_run(run: Run, evaluation: Evaluation) -> str | None:
    data = run.config.data
    named = [name for name, args in data.source_args.items() if "kind" in args]
    if evaluation.source and evaluation.source not in (*data.sources, *named):
        return (
            f'its source "{evaluation.source}" is not in config.data.source = "{data.source}", nor '
            "a name of config.data.source_args that gives a kind"
        )
    sizes = read_sizes(data, run.vocabulary, {})
    wanted = evaluation.heads or run.task.heads(sizes)
    missing = [head for head in wanted if head not in run.forward.model.heads]
    if missing:
        return f"the model has no head {', '.join(missing)}"
    try:
        given = run.source(evaluation).provides
    except ValueError as error:
        return f'its split "{evaluation.split}" cannot be used: {error}'
    lacks = sorted(need for need in evaluation.needs if not given & set(need.split("|")))
    return f"its source gives no {', '.join(lacks).replace('|', ' or ')}" if lacks else None
