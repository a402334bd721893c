"""Puts an experiment's parts together and checks that they fit, before anything is computed."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from vlp_jax.config import ExperimentConfig, replace, to_plain
from vlp_jax.config.plugins import load_plugins, place_in_plugin, reason
from vlp_jax.data.assemble import Feed, check_names, make_mixture, open_sources
from vlp_jax.data.mixture import Mixture
from vlp_jax.data.sizes import Batches, read_sizes
from vlp_jax.data.sources.base import Source
from vlp_jax.data.transforms import Transform
from vlp_jax.data.vocabulary import Vocabulary, make_vocabulary
from vlp_jax.model import VisionLanguageModel, build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import batch_shapes, batch_sharding, batch_share, make_mesh, meet, unbox
from vlp_jax.tasks import Task, build_tasks
from vlp_jax.tasks.evaluation import check_before_training, check_evaluations
from vlp_jax.tasks.fit import fit_model
from vlp_jax.tasks.naming import metric_titles
from vlp_jax.training.optimizer import make_optimizer, parameter_groups
from vlp_jax.training.resume import check_vocabulary
from vlp_jax.training.schedule import Group, Schedule, check_mix, cut_mix, make_schedule
from vlp_jax.training.state import StateMaker, TrainState
from vlp_jax.training.step import NON_FINITE_SHARE, make_train_step
from vlp_jax.training.writers import check_writers
from vlp_jax.weights.initial import initial_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """All parts of a run.

    Attributes:
      tasks: all that train. schedule: which of them a step trains, by the source of its batch.
      boxed: the parameters as shapes with logical axis names.
    """

    config: ExperimentConfig
    vocabulary: Vocabulary
    mixture: Mixture
    model: VisionLanguageModel
    boxed: Any
    tasks: Mapping[str, Task]
    schedule: Schedule
    optimizer: optax.GradientTransformation
    mesh: Mesh

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint says of the run: config, tokenizer and answers, numbers of records."""
        return {
            "config": to_plain(self.config),
            "vocabulary": self.vocabulary.to_json(),
            "records": self.records,
        }

    @property
    def records(self) -> dict[str, int]:
        """How many records each source has."""
        return {name: self.mixture[name].records for name in self.config.data.sources}

    @cached_property
    def states(self) -> StateMaker:
        """What makes the run's state, its shapes and its shardings."""
        metrics = {"loss", "gradient_norm", NON_FINITE_SHARE, *metric_titles(self.tasks)}
        return StateMaker(
            self.config,
            self.model,
            self.boxed,
            self.optimizer,
            self.tasks,
            tuple(sorted(metrics)),
            self.mesh,
        )

    def compiled_steps(self, state: TrainState) -> dict[tuple[str, Group], Any]:
        """The compiled step (state, batch) -> (state, metrics) of each source and group it feeds.

        Programs are shared where tasks, fields and shapes are the same, and compiled side by side,
        because a compiler uses few cores.
        """
        lowered = self.lowered_steps(state)
        programs = list(dict.fromkeys(lowered.values()))
        compiled = dict(zip(programs, _side_by_side(lambda x: x.compile(), programs)))
        return {pair: compiled[program] for pair, program in lowered.items()}

    def lowered_steps(self, state: TrainState) -> dict[tuple[str, Group], jax.stages.Lowered]:
        """The step of each source and group it feeds before it is compiled; shapes are enough.

        The same object where tasks, fields and shapes are the same.
        """
        shardings = jax.tree.map(lambda x: x.sharding, state)
        pairs, lowered = {}, {}
        for source in self.config.data.sources:
            batch, token = self.abstract_batch(source), self.config.data.own(source).task_token
            shapes = tuple((name, x.shape, str(x.dtype)) for name, x in sorted(batch.items()))
            for group in self.schedule.groups[source]:
                if (group, shapes, token) not in lowered:
                    with _fitting(group):
                        step = self._jitted(group, shardings, token)
                        lowered[group, shapes, token] = step.lower(state, batch)
                pairs[source, group] = lowered[group, shapes, token]
        return pairs

    def abstract_batch(self, source: str) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and shardings of the global batches of a source."""
        return batch_shapes(self.mixture[source].first, self.batch_size(source), self.mesh)

    def batch_size(self, source: str) -> int:
        """How many examples the global batches of a source have."""
        return self.config.data.of_source(source).batch_size

    def jitted_steps(self, shardings: TrainState) -> dict[Group, Any]:
        """One jitted step for each group; the state is donated, batches are split over the mesh."""
        return {group: self._jitted(group, shardings) for group in self.schedule.every_group}

    def _jitted(self, group: Group, shardings: TrainState, token: int | None = None) -> Any:
        """The step of a group, whose texts are of a task (`SourceSettings.task_token`)."""
        tasks, model = {name: self.tasks[name] for name in group}, self.model.with_task(token)
        return jax.jit(
            make_train_step(model, tasks, self.optimizer, self.config.training),
            in_shardings=(shardings, batch_sharding(self.mesh)),
            out_shardings=(shardings, None),
            donate_argnums=0,
        )


def _side_by_side(work: Callable, items: Collection) -> list:
    """Maps in threads; one after the other with several processes, which may have to agree."""
    threads = 1 if jax.process_count() > 1 else len(items)
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def assemble(
    config: ExperimentConfig,
    vocabulary: Vocabulary | None = None,
    sources: Mapping[str, Source] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Experiment:
    """Returns the experiment with its config resolved; every misfit is a ValueError here.

    `vocabulary` is given when a run resumes; else it is made from the data. `sources` and `devices`
    stand in for the data of the config and for all devices.
    """
    tasks = check_settings(config)
    sources = sources or open_sources(config.data)
    if vocabulary is None:
        answers = {a for s in sources.values() if "question" in s.provides for a in s.answers()}
        words = chain.from_iterable(task.words(answers) for task in tasks.values())
        lists = {name: own.answers for name, own in config.data.per_source.items()}
        vocabulary = make_vocabulary(config.data.vocabulary, sources, words, lists)
    else:
        check_vocabulary(vocabulary, sources, config.data)
    mesh = make_mesh(**dataclasses.asdict(config.mesh), devices=devices)
    meet(mesh)
    share = batch_share(mesh, jax.process_index())
    training = {name: task for name, task in tasks.items() if task.trains}
    transforms = lambda feed: transforms_of(training, feed)
    mixture = make_mixture(config.data, sources, vocabulary, transforms, config.seed, *share)
    batches = {name: mixture[name].first for name in config.data.sources}
    config, by_source = resolve(config, tasks, vocabulary, batches)
    schedule = make_schedule(config.training, by_source, config.seed)
    model = build_model(config.model, config.training.dtype, config.training.remat)
    _check_fields(model, batches)
    sizes = read_sizes(config.data, vocabulary, batches)
    for source, chosen in by_source.items():
        if single := [task for task in chosen.values() if not task.joins_pictures]:
            read = {head for task in single for head in task.heads(sizes)}
            _check_pictures(model, source, batches[source], read)
    fed = {name: task for chosen in by_source.values() for name, task in chosen.items()}
    mixture.know_sizes(_table_sizes(fed.values(), model))
    kept = {name: task for name, task in tasks.items() if name in config.tasks}
    check_before_training(config, vocabulary, model, kept, sources)
    # Last, because a task may read a whole training split for it.
    fed = {name: task.prepared(vocabulary, sources) for name, task in fed.items()}
    boxed = abstract_params(model)
    optimizer = make_optimizer(config.optimizer, config.training.steps, unbox(boxed))
    return Experiment(config, vocabulary, mixture, model, boxed, fed, schedule, optimizer, mesh)


def check_settings(config: ExperimentConfig) -> dict[str, Task]:
    """Returns the tasks; raises ValueError for all that is wrong whatever the data may be."""
    load_plugins(config.plugins)
    tasks = build_tasks(config)
    check_names(config.data)
    check_writers(config.training.writers)
    check_evaluations(config, tasks)
    model = build_model(config.model, config.training.dtype, config.training.remat)
    for own in config.data.per_source.values():
        model.with_task(own.task_token)
    parameter_groups(config.optimizer.groups)
    initial_weights(config.init_from)
    return tasks


def _table_sizes(tasks: Iterable[Task], model: VisionLanguageModel) -> dict[str, int]:
    """Returns batch field → the fewest classes that a task's head has for what is in it."""
    sizes: dict[str, int] = {}
    for name, size in chain.from_iterable(task.table_sizes(model).items() for task in tasks):
        sizes[name] = min(size, sizes.get(name, size))
    return sizes


def sources_too_late(config: ExperimentConfig) -> list[str]:
    """Returns a line for each source that would join after the run's end."""
    steps = config.training.steps
    return [
        f"source {source} trains nothing: it joins at step {first} of a run of {steps}"
        for source, first in config.data.first_steps.items()
        if first >= steps
    ]


def transforms_of(tasks: Mapping[str, Task], feed: Feed) -> tuple[Transform, ...]:
    """Returns the transforms of all tasks that a source may train."""
    fed = (task for task in tasks.values() if task.is_fed_by(feed.source))
    return tuple(chain.from_iterable(task.checked_transforms(feed) for task in fed))


def resolve(
    config: ExperimentConfig,
    tasks: Mapping[str, Task],
    vocabulary: Vocabulary,
    batches: Batches,
) -> tuple[ExperimentConfig, dict[str, dict[str, Task]]]:
    """Fills in what follows from the data, and gives each source the tasks it can feed.

    `batches` hold one batch of each source. A task that no source feeds is switched off with a
    warning; a source that joins after the end gets one, too.
    """
    training = {name: task for name, task in tasks.items() if task.trains}
    if not training:
        raise ValueError(
            f"config.tasks has none that trains ({', '.join(tasks)} are measured only)"
        )
    check_mix(config.training, tuple(training))
    fields = {source: frozenset(batch) for source, batch in batches.items()}
    by_source = {
        source: {n: t for n, t in training.items() if t.is_fed_by(source) and t.reads <= have}
        for source, have in fields.items()
    }
    for source, chosen in by_source.items():
        if not chosen:
            lacks = (
                f"{name} needs {', '.join(sorted(task.reads - fields[source]))}"
                for name, task in training.items()
            )
            raise ValueError(
                f"none of the tasks in config.tasks ({', '.join(training)}) can use source "
                f"{source}, whose batches hold {', '.join(sorted(fields[source]))}: "
                f"{'; '.join(lacks)}"
            )
    fed = {name for chosen in by_source.values() for name in chosen}
    unfed = {name: task for name, task in training.items() if name not in fed}
    for name, task in unfed.items():
        lacks = (
            f"source {source} gives no {', '.join(sorted(task.reads - have))}"
            for source, have in fields.items()
        )
        logger.warning("task %s is off and trains nothing: %s", name, "; ".join(lacks))
    for line in sources_too_late(config):
        logger.warning("%s", line)
    sizes = read_sizes(config.data, vocabulary, batches)
    trained = [task for name, task in training.items() if name in fed]
    own = lambda task: sizes.of_list(config.data.own(task.home(config.data)).answers)
    model = fit_model(config.model, sizes, trained, own)
    on = tasks.keys() - unfed.keys()
    config = replace(config, "model", model)
    config = replace(config, "tasks", {n: args for n, args in config.tasks.items() if n in on})
    return replace(config, "training.mix", cut_mix(config.training.mix, fed)), by_source


def _check_fields(model: VisionLanguageModel, batches: Batches) -> None:
    for source, have in batches.items():
        missing = [name for name in model.vision.reads if name not in have]
        if missing:
            raise ValueError(
                f"the vision encoder reads {', '.join(model.vision.reads)}, and source {source} "
                f"has no {', '.join(missing)}"
            )


def _check_pictures(
    model: VisionLanguageModel, source: str, batch: Mapping[str, Any], heads: Iterable[str]
) -> None:
    """The fusion and the heads that tasks read have to be given as many pictures as they take."""
    takes = {"fusion": model.fusion.images}
    takes |= {f"heads.{name}": model.heads[name].pictures for name in heads if name in model.heads}
    first = batch[model.vision.reads[0]]
    given = first.shape[1] if first.ndim > model.vision.rank else 1
    for part, wanted in takes.items():
        if wanted > given:
            raise ValueError(
                f"config.model.{part} reads {wanted} pictures an example, and the batches of "
                f"source {source} have {given}: choose another"
            )


@contextlib.contextmanager
def _fitting(group: Group) -> Iterator[None]:
    """Turns what a part raises that gets another input than it takes into a ValueError."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        if "config." in str(error) or place_in_plugin(error):  # it says itself what is wrong
            raise
        raise ValueError(
            f"tasks {', '.join(group)} do not go with config.model.heads or config.model.fusion: "
            f"{reason(error)}"
        ) from error
