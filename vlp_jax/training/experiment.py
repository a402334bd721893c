"""Puts an experiment's parts together and checks that they fit, before anything is computed."""

import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from vlp_jax.config import ExperimentConfig, checked_fields, replace, to_plain
from vlp_jax.data.assemble import Vocabulary, make_mixture, make_vocabulary
from vlp_jax.data.mixture import Mixture
from vlp_jax.model import VisionLanguageModel, build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Objective
from vlp_jax.parallel import batch_sharding, batch_share, make_mesh, put_batch, unbox
from vlp_jax.training.optimizer import make_optimizer
from vlp_jax.training.schedule import Schedule, Task, check_mix, cut_mix, make_schedule
from vlp_jax.training.sizes import Batches, fill_sizes
from vlp_jax.training.state import TrainState, make_init, state_shardings
from vlp_jax.training.step import (
    NON_FINITE_SHARE,
    check_temperature_ranges,
    flat_name,
    make_train_step,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Experiment:
    """All parts of a run.

    `objectives` are by source: those whose inputs its batches hold. `schedule` says which of them
    a step trains.
    """

    config: ExperimentConfig
    vocabulary: Vocabulary
    mixture: Mixture
    model: VisionLanguageModel
    objectives: Mapping[str, Mapping[str, Objective]]
    schedule: Schedule
    optimizer: optax.GradientTransformation
    mesh: Mesh

    @property
    def about(self) -> dict[str, Any]:
        """What a checkpoint says of the run: resolved config, tokenizer and answers."""
        return {"config": to_plain(self.config), "vocabulary": self.vocabulary.to_json()}

    def metric_names(self) -> tuple[str, ...]:
        """The names of all metrics that `step.update_meters` adds up, whatever the source."""
        names = {"loss", "gradient_norm", NON_FINITE_SHARE}
        for chosen in self.objectives.values():
            for name, objective in chosen.items():
                names |= {f"{name}_loss"}
                names |= {flat_name(name, objective, metric) for metric in objective.metrics}
        return tuple(sorted(names))

    def abstract_state(self, metrics: tuple[str, ...]) -> TrainState:
        """The train state as shapes with shardings."""
        init = make_init(self.config, self.model, self.optimizer, metrics)
        shapes = jax.eval_shape(init, jax.random.key(0))
        shardings, _ = state_shardings(self.config, self.model, self.optimizer, self.mesh, metrics)
        with_sharding = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
        return jax.tree.map(with_sharding, shapes, shardings)

    def compiled_steps(self, state: TrainState) -> dict[tuple[str, Task], Any]:
        """The compiled step (state, batch) -> (state, metrics) for each source and task it feeds.

        Programs are shared where task, fields and shapes are the same, and compiled side by side,
        because a compiler uses few cores.
        """
        steps = self.jitted_steps(jax.tree.map(lambda x: x.sharding, state))
        programs, lowered = {}, {}
        for source in self.config.data.sources:
            batch = put_batch(self.mixture[source].batch(0), self.mesh)
            shapes = tuple((name, x.shape, str(x.dtype)) for name, x in sorted(batch.items()))
            for task in self.schedule.tasks[source]:
                programs[source, task] = task, shapes
                if (task, shapes) not in lowered:
                    lowered[task, shapes] = steps[task].lower(state, batch)
        compiled = dict(zip(lowered, _side_by_side(lambda x: x.compile(), lowered.values())))
        return {pair: compiled[program] for pair, program in programs.items()}

    def jitted_steps(self, shardings: TrainState) -> dict[Task, Any]:
        """One jitted step for each task; the state is donated, batches are split over the mesh."""
        return {
            task: jax.jit(
                self._step(task),
                in_shardings=(shardings, batch_sharding(self.mesh)),
                out_shardings=(shardings, None),
                donate_argnums=0,
            )
            for task in self.schedule.every_task
        }

    def _step(self, task: Task):
        known = {name: o for chosen in self.objectives.values() for name, o in chosen.items()}
        objectives = {name: known[name] for name in task}
        return make_train_step(self.model, objectives, self.optimizer, self.config.training)


def _side_by_side(work: Callable, items: Collection) -> list:
    """Maps in threads; one after the other with several processes, which may have to agree."""
    threads = 1 if jax.process_count() > 1 else len(items)
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))


def assemble(config: ExperimentConfig, vocabulary: Vocabulary | None = None) -> Experiment:
    """Returns the experiment with its config resolved; every misfit is a ValueError here.

    `vocabulary` is given when a run resumes; else it is made from the data.
    """
    vocabulary = vocabulary or make_vocabulary(config.data)
    mesh = make_mesh(**dataclasses.asdict(config.mesh))
    share = batch_share(mesh, jax.process_index())
    mixture = make_mixture(config.data, vocabulary, config.seed, *share)
    batches = {name: mixture[name].batch(0) for name in config.data.sources}
    config, objectives = resolve(config, vocabulary, batches)
    schedule = make_schedule(config.training, objectives, config.seed)
    model = build_model(config.model, config.training.dtype, config.training.remat)
    _check_heads(model, objectives)
    _check_fields(model, batches)
    params = unbox(abstract_params(model))
    optimizer = make_optimizer(config.optimizer, config.training.steps, params)
    return Experiment(config, vocabulary, mixture, model, objectives, schedule, optimizer, mesh)


def resolve(
    config: ExperimentConfig, vocabulary: Vocabulary, batches: Batches
) -> tuple[ExperimentConfig, dict[str, dict[str, Objective]]]:
    """Fills in what follows from the data, and gives each source the objectives it can feed.

    `batches` hold one batch of each source.
    An objective that no source feeds is dropped with a warning, and with it a head whose size
    nothing determines.
    """
    built = build_objectives(config.objectives)
    check_mix(config.training, tuple(built))
    fields = {source: frozenset(batch) for source, batch in batches.items()}
    by_source = {
        source: {n: o for n, o in built.items() if o.reads <= have}
        for source, have in fields.items()
    }
    for source, chosen in by_source.items():
        if not chosen:
            raise ValueError(
                f"none of config.objectives ({', '.join(built)}) can use source {source}, whose "
                f"batches hold {', '.join(sorted(fields[source]))}"
            )
    fed = {name for chosen in by_source.values() for name in chosen}
    for name in [n for n in built if n not in fed]:
        missing = built[name].reads - frozenset.union(*fields.values())
        logger.warning(
            "objective %s is off: no source of config.data.source = %s gives %s",
            name,
            config.data.source,
            ", ".join(sorted(missing)),
        )
    objectives = {n: args for n, args in config.objectives.items() if n in fed}
    config = replace(config, "objectives", objectives)
    config = replace(config, "training.mix", cut_mix(config.training.mix, fed))
    used = {name: built[name] for name in objectives}
    return fill_sizes(config, vocabulary, batches, used), by_source


def build_objectives(settings: Mapping[str, Mapping]) -> dict[str, Objective]:
    """Returns the objectives of `config.objectives`, each a frozen dataclass."""
    if not settings:
        raise ValueError(f"config.objectives is empty. Known objectives: {', '.join(OBJECTIVES)}")
    built = {}
    for name, args in settings.items():
        path = f"config.objectives.{name}"
        args = dict(args)
        cls = OBJECTIVES.get_known(args.pop("kind", name), path)
        built[name] = cls(**checked_fields(cls, args, path))
    check_temperature_ranges(built)
    return built


def _check_heads(model: VisionLanguageModel, objectives: Mapping[str, Mapping]) -> None:
    used = {n: o for chosen in objectives.values() for n, o in chosen.items()}
    for name, objective in used.items():
        for head in objective.heads:
            if head not in model.heads:
                raise ValueError(
                    f'objective {name} needs the head "{head}": add config.model.heads.{head} '
                    f"(there are: {', '.join(model.heads) or 'none'})"
                )


def _check_fields(model: VisionLanguageModel, batches: Batches) -> None:
    for source, have in batches.items():
        missing = [name for name in model.vision.reads if name not in have]
        if missing:
            raise ValueError(
                f"the vision encoder reads {', '.join(model.vision.reads)}, and source {source} "
                f"has no {', '.join(missing)}"
            )
