"""One training step as a pure function, read from top to bottom."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from vlp_jax.config import TrainingConfig
from vlp_jax.losses.momentum import update_teacher
from vlp_jax.model import VisionLanguageModel
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.base import Objective, Result
from vlp_jax.objectives.views import Views
from vlp_jax.training.state import Meter, TrainState

Batch = dict[str, Array]

# Of all steps since the last log line, the share whose loss or gradient was not finite.
NON_FINITE_SHARE = "non_finite_share"


def make_train_step(
    model: VisionLanguageModel,
    objectives: Mapping[str, Objective],
    optimizer: optax.GradientTransformation,
    training: TrainingConfig,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Returns the function (state, batch) -> (state, metrics) of one step with these objectives.

    The teacher moves before the gradient is taken, as in ALBEF. Metrics are float32 scalars.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        params = clamp_temperature(state.params, objectives)
        batch = without_needless_masks(batch, objectives)
        teacher = state.teacher
        if teacher is not None:
            teacher = update_teacher(teacher, params, training.momentum)
        loss_of = functools.partial(total_loss, model, objectives, training, state, teacher, batch)
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, results), grads = gradient(params)
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        norm = optax.tree.norm(grads)
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        new = state.replace(
            params=optax.apply_updates(params, updates),
            opt_state=opt_state,
            teacher=teacher,
            queue=push(state, results),
        )
        new = jax.tree.map(functools.partial(jnp.where, good), new, state)
        metrics = collect(loss, norm, objectives, results)
        return (
            new.replace(
                step=state.step + 1,
                bad_steps=jnp.where(good, 0, state.bad_steps + 1),
                meters=update_meters(state, metrics, good, training.log_every),
            ),
            metrics,
        )

    return train_step


def without_needless_masks(batch: Batch, objectives: Mapping[str, Objective]) -> Batch:
    """Shows all regions where no objective predicts what regions show.

    So the tasks of a sampled schedule that are about words or pairs see the whole image (UNITER).
    """
    predicted = any(
        "region_hidden" in objective.reads or getattr(objective, "keeps_regions_hidden", False)
        for objective in objectives.values()
    )
    if predicted or "region_hidden" not in batch:
        return batch
    rest = {k: v for k, v in batch.items() if k not in ("region_hidden", "region_targets")}
    return rest | {"region_features": batch["region_targets"]}


def total_loss(
    model: VisionLanguageModel,
    objectives: Mapping[str, Objective],
    training: TrainingConfig,
    state: TrainState,
    teacher_params: Any,
    batch: Batch,
    params: Any,
) -> tuple[Array, dict[str, Result]]:
    """Returns the weighted sum of the objectives on one batch, and each objective's result."""
    key = jax.random.fold_in(state.key, state.step)
    views = Views(model, params, batch, key=key, chunks=training.accumulate)
    teacher = None
    if teacher_params is not None:
        fixed = jax.lax.stop_gradient(teacher_params)
        teacher = Views(model, fixed, batch, chunks=training.accumulate)
    ramp = jnp.minimum(state.step / max(training.distillation_warmup, 1), 1.0)
    ramp = ramp if training.distillation_warmup else jnp.ones(())
    results = {
        name: objective(views, teacher, state.queue, ramp) for name, objective in objectives.items()
    }
    return sum(objectives[n].weight * r.loss for n, r in results.items()), results


def clamp_temperature(params: Any, objectives: Mapping[str, Objective]) -> Any:
    """Returns parameters with the contrastive temperature inside the objective's range."""
    ranges = [o.temperature_range for o in objectives.values() if hasattr(o, "temperature_range")]
    if not ranges:
        return params
    head = params["heads_itc"]
    clamped = jnp.clip(head["temperature"], *ranges[0])
    return params | {"heads_itc": head | {"temperature": clamped}}


def check_temperature_ranges(objectives: Mapping[str, Objective]) -> None:
    """Raises ValueError unless objectives that share the one temperature give it one range."""
    ranges = {
        f"config.objectives.{name}.temperature_range": objective.temperature_range
        for name, objective in objectives.items()
        if hasattr(objective, "temperature_range")
    }
    if len(set(ranges.values())) > 1:
        given = ", ".join(f"{path} = {limits}" for path, limits in ranges.items())
        raise ValueError(f"{given}: these share one learned temperature, so give them one range")


def push(state: TrainState, results: Mapping[str, Result]) -> Any:
    """Returns the queue with this batch's vectors of the teacher, if an objective gives any.

    Several contrastive objectives all give the same vectors, those of the one head.
    """
    given = [r.enqueue for r in results.values() if r.enqueue]
    if state.queue is None or not given:
        return state.queue
    return state.queue.push(**jax.lax.stop_gradient(given[0]))


def collect(
    loss: Array,
    norm: Array,
    objectives: Mapping[str, Objective],
    results: Mapping[str, Result],
) -> dict[str, Array]:
    """Returns all metrics of a step under flat names."""
    metrics = {"loss": loss, "gradient_norm": norm}
    for name, result in results.items():
        metrics[f"{name}_loss"] = result.loss
        for metric, value in result.metrics.items():
            metrics[flat_name(name, objectives[name], metric)] = value
    return {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


def flat_name(name: str, objective: Objective, metric: str) -> str:
    """Returns what an objective's metric is called beside those of others.

    That is its own name where the objective is called by its kind, as most are. An objective with
    another name puts it before, so that there can be several of one kind.
    """
    return metric if isinstance(objective, OBJECTIVES.get(name, ())) else f"{name}_{metric}"


def update_meters(
    state: TrainState, metrics: Mapping[str, Array], good: Array, log_every: int
) -> dict[str, Meter]:
    """Adds a step's metrics to the running means; the first step after a log line starts anew.

    Steps that are not finite enter no mean but that of `non_finite_share`.
    """
    keep = jnp.where(state.step % log_every == 0, 0.0, 1.0)
    weight = good.astype(jnp.float32)

    def updated(name: str, meter: Meter) -> Meter:
        if name == NON_FINITE_SHARE:
            value, present = 1.0 - weight, 1.0
        else:
            value = jnp.where(good, metrics.get(name, 0.0), 0.0)
            present = weight if name in metrics else 0.0
        return Meter(meter.total * keep + value, meter.count * keep + present)

    return {name: updated(name, meter) for name, meter in state.meters.items()}
