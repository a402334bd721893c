"""What a task is: all facts about one thing that a model is asked to do or to learn."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import flax
import numpy as np
from jaxtyping import Array

from vlp_jax.config import DataConfig, ExperimentConfig, Registry, nearest
from vlp_jax.config.ranges import NonNegative
from vlp_jax.data.assemble import Feed
from vlp_jax.data.input_rules import InputRules
from vlp_jax.data.sizes import Sizes
from vlp_jax.data.sources.base import Source
from vlp_jax.data.transforms import Transform
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import Views, VisionLanguageModel


def check_others(path: str, sizes: Mapping[str, int]) -> None:
    """Raises ValueError if a batch has no other example, from which a task takes its negatives.

    sizes: the task's `batch_sizes`.
    """
    for where, size in sizes.items():
        if size < 2:
            raise ValueError(
                f"{path} takes its negatives from the other examples of a batch, and there are "
                f"none with {where} = 1: make it 2 or more"
            )


@flax.struct.dataclass
class Result:
    """What a task makes of a step: a scalar loss, scalar metrics by name, and its new state."""

    loss: Array
    metrics: Mapping[str, Array] = field(default_factory=dict)
    state: Any = None


@dataclass(frozen=True)
class Step:
    """What a task sees of a training step.

    Attributes:
      views: forward passes of the model on the batch; `views.batch` holds its fields.
      teacher: those of the momentum copy, or None.
      state: what the task remembers from the step before.
      ramp: rises from 0 to 1 over `config.training.distillation_warmup`; it scales what the
        teacher has to say.
      number: how many steps of the run came before.
    """

    views: Views
    teacher: Views | None
    state: Any
    ramp: Array
    number: Array | int = 0


@dataclass(frozen=True)
class HeadNeed:
    """A head that a task reads: its kind where the model does not say, and sizes by part."""

    kind: str
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """A task; subclasses are frozen dataclasses whose fields are its settings.

    They stand in `config.tasks.<name>`; `evaluate` holds what is measured, by the name of its
    figures, with the fields of the task's `Evaluation`. Fields with a leading "_" are no settings:
    `prepared` fills them. A task writes only the methods it needs.

    Attributes:
      weight: of its loss in the sum of all.
      sources: names of those that train it, () for all that give what it reads. The first is
        where it is measured, unless an evaluation names another.
      title: what it is called in a report.
      metrics: what `loss` gives beside the loss: name → title of its curve.
      trains: whether it has a loss; tasks without one are only evaluated.
      joins_pictures: whether it shows pictures of several examples together, one of each being
        enough for a fusion or a head that reads more.
      hides_regions: whether regions stay hidden in its steps; others see the whole picture.
      verbs: what a model of several tasks is asked by, as in `InputRules.texts`.
    """

    weight: NonNegative = 1.0
    evaluate: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()

    title: ClassVar[str] = ""
    metrics: ClassVar[Mapping[str, str]] = {}
    trains: ClassVar[bool] = True
    joins_pictures: ClassVar[bool] = False
    hides_regions: ClassVar[bool] = False
    verbs: ClassVar[tuple[str, ...]] = ()

    @property
    def reads(self) -> frozenset[str]:
        """The batch fields that `loss` needs beside those of the vision encoder."""
        return frozenset()

    def is_fed_by(self, source: str) -> bool:
        """Says whether a source may train the task."""
        return not self.sources or source in self.sources

    def batch_sizes(self, config: ExperimentConfig) -> dict[str, int]:
        """Returns where in the config → examples of a batch, of all sources that may train it."""
        return config.data.batch_sizes(filter(self.is_fed_by, config.data.sources))

    def check(self, path: str, config: ExperimentConfig, tasks: Mapping[str, "Task"]) -> None:
        """Raises ValueError if the task does not fit the experiment; `path` leads to its config."""

    def chances(self, config: ExperimentConfig) -> Mapping[str, float]:
        """Returns what guessing reaches of a metric, by its name, where that can be said."""
        return {}

    def transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """Returns what makes the task's batch fields from the records of a source."""
        return ()

    def home(self, data: DataConfig) -> str:
        """Returns the source that the task is trained on before others, whose answers it knows."""
        return (self.sources or data.sources)[0]

    def checked_transforms(self, feed: Feed) -> tuple[Transform, ...]:
        """Returns the transforms; a ValueError says what they are if not a tuple of them."""
        made = self.transforms(feed)
        if not isinstance(made, tuple) or not all(isinstance(x, Transform) for x in made):
            raise ValueError(
                f"{type(self).__name__}.transforms() gives {made!r:.200}, expected a tuple of "
                "Transform objects"
            )
        return made

    def words(self, answers: Iterable[str]) -> Iterable[str]:
        """Returns texts whose words a fitted tokenizer has to know beside those of the sources."""
        return ()

    def prepared(self, vocabulary: Vocabulary, sources: Mapping[str, Source]) -> "Task":
        """Returns the task for training, with what it knows of words and of training splits."""
        return self

    def heads(self, sizes: Sizes) -> Mapping[str, HeadNeed]:
        """Returns the heads that the task reads, by name; missing ones are added to the model."""
        return {}

    def table_sizes(self, model: VisionLanguageModel) -> Mapping[str, int]:
        """Returns batch field → number of classes, for fields that hold classes of its heads."""
        return {}

    def input_rules(self, rules: InputRules) -> InputRules:
        """Returns how a trained model is given its inputs, from what the experiment's data say."""
        return rules

    def rules_of_sources(self, rules: InputRules, data: DataConfig, name: str) -> InputRules:
        """Returns `input_rules`, with what texts of its own sources have of their own.

        `name` is that of the task, by which it may be asked.
        """
        rules = self.input_rules(rules)
        if not self.sources:
            return rules
        own = data.own(self.home(data))
        for verb in self.verbs:
            text = rules.text_of(verb)
            length = own.text_length or text.length
            text = replace(text, length=length, task=own.task_token)
            rules = rules.with_text(verb, text).with_task(verb, name, text)
        return rules

    def state(self, model: VisionLanguageModel, key: Array) -> Any:
        """Returns what the task remembers before the first step, a tree of arrays, or None."""
        return None

    def constrain(self, params: Any) -> Any:
        """Returns the parameters as they have to be before a step."""
        return params

    def loss(self, step: Step) -> Result:
        """Returns the loss of a step before its weight, with metrics and the next state."""
        raise NotImplementedError(f"{type(self).__name__} has no loss")

    def checked_loss(self, step: Step, path: str) -> Result:
        """Returns the loss of a step; a ValueError says what of it is not as it has to be."""
        if type(self).loss is Task.loss:
            name = type(self).__name__
            raise ValueError(f"{path}: {name} has no loss(step): write one, or say trains = False")
        result = self.loss(step)
        if not isinstance(result, Result):
            raise ValueError(f"{path}: loss gives {type(result).__name__}, expected a Result")
        if not isinstance(result.metrics, Mapping):
            what = type(result.metrics).__name__
            raise ValueError(f"{path}: loss gives {what} as metrics, expected name → number")
        for name in result.metrics.keys() - self.metrics.keys():
            raise ValueError(
                f'{path}: loss gives the metric "{name}", which {type(self).__name__}.metrics does '
                f"not name.{nearest(name, self.metrics)} Known: {', '.join(self.metrics) or 'none'}"
            )
        for name, value in {"loss": result.loss, **result.metrics}.items():
            if not _is_number(value):
                raise ValueError(
                    f"{path}: {name} is {type(value).__name__} {list(np.shape(value))}, expected "
                    "one number of the whole batch"
                )
        return result


TASKS = Registry("task", Task)


def _is_number(value: Any) -> bool:
    return not isinstance(value, str) and value is not None and np.shape(value) == ()
