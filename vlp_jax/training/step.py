"""One training step as a pure function, read from top to bottom."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from vlp_jax.config import TrainingConfig
from vlp_jax.layers.platform import traced_for
from vlp_jax.losses.momentum import update_teacher
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.model.views import named_key
from vlp_jax.tasks import Result, Step, Task
from vlp_jax.tasks.hidden_regions import shown_whole
from vlp_jax.tasks.naming import flat_name
from vlp_jax.training.state import Meter, TrainState

Batch = dict[str, Array]

# Of all steps since the last log line, the share whose loss or gradient was not finite.
NON_FINITE_SHARE = "non_finite_share"


def make_train_step(
    model: VisionLanguageModel,
    tasks: Mapping[str, Task],
    optimizer: optax.GradientTransformationExtraArgs,
    training: TrainingConfig,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """Returns the function (state, batch) -> (state, metrics) of one step with these tasks.

    The teacher moves before the gradient is taken, as in ALBEF. Metrics are float32 scalars. A step
    whose loss or gradient is not finite changes neither parameters nor what is remembered.
    """

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        params = constrained(state.params, tasks)
        if not any(task.hides_regions for task in tasks.values()):
            batch = shown_whole(batch)
        teacher = state.teacher
        if teacher is not None:
            key = named_key(step_key(state), "teacher")
            teacher = update_teacher(teacher, params, training.momentum, key)
        loss_of = functools.partial(total_loss, model, tasks, training, state, teacher, batch)
        gradient = jax.value_and_grad(loss_of, has_aux=True)
        (loss, results), grads = gradient(params)
        norm = optax.tree.norm(grads)
        memories = state.tasks | {name: result.state for name, result in results.items()}
        good = jnp.isfinite(loss) & jnp.isfinite(norm) & are_finite(memories)

        def moved() -> tuple:
            updates, opt_state = optimizer.update(grads, state.opt_state, params, norm=norm)
            return optax.apply_updates(params, updates), opt_state, memories

        kept = state.params, state.opt_state, state.tasks
        new_params, opt_state, task_states = chosen(good, moved, kept)
        metrics = collect(loss, norm, tasks, results)
        return (
            state.replace(
                step=state.step + 1,
                params=new_params,
                opt_state=opt_state,
                teacher=teacher,  # even in a bad step: to keep the one before takes a second copy
                tasks=task_states,
                bad_steps=jnp.where(good, 0, state.bad_steps + 1),
                meters=update_meters(state, metrics, good, training.log_every),
            ),
            metrics,
        )

    return train_step


def chosen(good: Array, new: Callable[[], Any], old: Any) -> Any:
    """Returns `new()` in a good step, else `old`.

    What is good is known before the optimizer is asked, so that new and old state never exist side
    by side: accelerators choose while they compute the update. On CPUs, whose kernels have one
    result each, it is computed in a branch, in the old state's memory; on GPUs a branch would wait
    for the host.
    """
    if traced_for() == "cpu":
        return jax.lax.cond(good, new, lambda: old)
    return jax.tree.map(functools.partial(jax.lax.select, good), new(), old)


def are_finite(tree: Any) -> Array:
    """Says whether all numbers are finite: what a task remembers may spoil later steps."""
    sizes = [
        jnp.sum(jnp.abs(x.astype(jnp.float32)))
        for x in jax.tree.leaves(tree)
        if jnp.issubdtype(x.dtype, jnp.floating)
    ]
    return jnp.all(jnp.isfinite(jnp.stack(sizes))) if sizes else jnp.array(True)


def constrained(params: Any, tasks: Mapping[str, Task]) -> Any:
    """Returns the parameters as all tasks want them before a step."""
    return functools.reduce(lambda p, task: task.constrain(p), tasks.values(), params)


def step_key(state: TrainState) -> Array:
    """Returns the PRNG key of all random draws of a step."""
    return jax.random.fold_in(state.key, state.step)


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
    views = Views(model, params, batch, key=step_key(state), chunks=training.accumulate)
    teacher = None
    if teacher_params is not None:
        fixed = jax.tree.map(lambda x: jax.lax.stop_gradient(x.astype(jnp.float32)), teacher_params)
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
