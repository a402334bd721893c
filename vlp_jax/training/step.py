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
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks import Result, Step, Task
from vlp_jax.tasks.hidden_regions import shown_whole
from vlp_jax.tasks.naming import flat_name
from vlp_jax.training.state import Meter, TrainState

Batch = dict[str, Array]

# Of all steps since the last log line, the share whose loss, gradient or update was not finite.
NON_FINITE_SHARE = "non_finite_share"


def make_train_step(
    model: VisionLanguageModel,
    tasks: Mapping[str, Task],
    optimizer: optax.GradientTransformation,
    training: TrainingConfig,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Returns the function (state, batch) -> (state, metrics) of one step with these tasks.

    The teacher moves before the gradient is taken, as in ALBEF. Metrics are float32 scalars.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        params = constrained(state.params, tasks)
        if not any(task.hides_regions for task in tasks.values()):
            batch = shown_whole(batch)
        teacher = state.teacher
        if teacher is not None:
            teacher = update_teacher(teacher, params, training.momentum)
        loss_of = functools.partial(total_loss, model, tasks, training, state, teacher, batch)
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, results), grads = gradient(params)
        updates, opt_state = optimizer.update(grads, state.opt_state, params)
        norm = optax.tree.norm(grads)
        new = state.replace(
            params=optax.apply_updates(params, updates),
            opt_state=opt_state,
            teacher=teacher,
            tasks=state.tasks | {name: result.state for name, result in results.items()},
        )
        good = jnp.isfinite(loss) & jnp.isfinite(norm) & is_sound(new)
        new = kept_if(good, new, state)
        metrics = collect(loss, norm, tasks, results)
        return (
            new.replace(
                step=state.step + 1,
                bad_steps=jnp.where(good, 0, state.bad_steps + 1),
                meters=update_meters(state, metrics, good, training.log_every),
            ),
            metrics,
        )

    return train_step


def kept_if(good: Array, new: TrainState, old: TrainState) -> TrainState:
    """Returns the new state if the step was good, else the old one; the teacher has moved anyway.

    It moves towards parameters that have been checked, and to go back would take a second copy.
    """
    select = functools.partial(jax.lax.select, good)
    chosen = jax.tree.map(select, new.replace(teacher=None), old.replace(teacher=None))
    return chosen.replace(teacher=new.teacher)


def is_sound(state: TrainState) -> Array:
    """Says whether a new state can be gone on from: all finite, and parameters below 1e19.

    The sum of squares of larger parameters is infinite. The teacher is a mean of parameters that
    have been checked.
    """
    squares = lambda x: jnp.sum(jnp.square(x.astype(jnp.float32)))
    sizes = lambda x: jnp.sum(jnp.abs(x.astype(jnp.float32)))
    totals = [squares(x) for x in _floats(state.params)]
    totals += [sizes(x) for x in _floats((state.opt_state, state.tasks))]
    # One array: XLA copies a chain of scalar sums into all that reads it, and compiles for minutes.
    # It does so with truth values of all parts, too; comparing them would save 5 % of a step.
    return jnp.all(jnp.isfinite(jnp.stack(totals)))


def _floats(tree: Any) -> list[Array]:
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]


def constrained(params: Any, tasks: Mapping[str, Task]) -> Any:
    """Returns the parameters as all tasks want them before a step."""
    return functools.reduce(lambda p, task: task.constrain(p), tasks.values(), params)


def total_loss(
    model: VisionLanguageModel,
    tasks: Mapping[str, Task],
    training: TrainingConfig,
    state: TrainState,
    teacher_params: Any,
    batch: Batch,
    params: Any,
) -> tuple[Array, dict[str, Result]]:
    """Returns the weighted sum of the tasks' losses on one batch, and each task's result."""
    key = jax.random.fold_in(state.key, state.step)
    views = Views(model, params, batch, key=key, chunks=training.accumulate)
    teacher = None
    if teacher_params is not None:
        fixed = jax.lax.stop_gradient(teacher_params)
        teacher = Views(model, fixed, batch, chunks=training.accumulate)
    ramp = jnp.minimum(state.step / max(training.distillation_warmup, 1), 1.0)
    ramp = ramp if training.distillation_warmup else jnp.ones(())
    results = {
        name: task.checked_loss(
            Step(views, teacher, state.tasks.get(name), ramp, state.step), f"config.tasks.{name}"
        )
        for name, task in tasks.items()
    }
    return sum(tasks[name].weight * result.loss for name, result in results.items()), results


def collect(
    loss: Array, norm: Array, tasks: Mapping[str, Task], results: Mapping[str, Result]
) -> dict[str, Array]:
    """Returns all metrics of a step under flat names."""
    metrics = {"loss": loss, "gradient_norm": norm}
    for name, result in results.items():
        metrics[f"{name}_loss"] = result.loss
        for metric, value in result.metrics.items():
            metrics[flat_name(name, tasks[name], metric)] = value
    return {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


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
