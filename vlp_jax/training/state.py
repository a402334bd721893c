"""TrainState: everything that a step changes, sharded by rule and saved whole."""

from collections.abc import Iterable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from vlp_jax.config import ExperimentConfig
from vlp_jax.losses.momentum import Queue
from vlp_jax.model import VisionLanguageModel
from vlp_jax.model.model import abstract_params, init_params
from vlp_jax.parallel import ShardingReport, shardings_for, shardings_like, unbox


@flax.struct.dataclass
class Meter:
    """A running mean: the sum of the values since the last log line, and their number."""

    total: Float[Array, ""]
    count: Float[Array, ""]

    @classmethod
    def empty(cls) -> "Meter":
        """Returns a meter that has seen nothing."""
        return cls(jnp.zeros(()), jnp.zeros(()))


@flax.struct.dataclass
class TrainState:
    """Everything that a step reads and changes.

    Attributes:
      step: number of steps done.
      params, opt_state: the model's parameters and the optimizer's state.
      teacher: momentum copy of `params`, or None.
      queue: contrastive vectors of earlier batches, or None.
      meters: running means of the metrics since the last log line, so that a resumed run logs
        exactly what an uninterrupted one does.
      bad_steps: non-finite steps in a row.
      key: PRNG key of the run; each step folds in its number.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    teacher: Any
    queue: Queue | None
    meters: dict[str, Meter]
    bad_steps: Int[Array, ""]
    key: Array


def create_state(
    config: ExperimentConfig,
    model: VisionLanguageModel,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    metrics: Iterable[str],
) -> TrainState:
    """Initialises the state directly in its shards; nothing is ever whole on one device."""
    init = make_init(config, model, optimizer, metrics)
    shardings, _ = state_shardings(config, model, optimizer, mesh, metrics)
    # One run of cheap code: on a CPU compiling it well takes longer than running it badly.
    options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
    jitted = jax.jit(init, out_shardings=shardings, compiler_options=options)
    return jitted(jax.random.key(config.seed))


def make_init(
    config: ExperimentConfig,
    model: VisionLanguageModel,
    optimizer: optax.GradientTransformation,
    metrics: Iterable[str],
):
    """Returns the pure function key -> TrainState of step 0."""
    names = tuple(metrics)

    def init(key: Array) -> TrainState:
        params_key, queue_key, run_key = jax.random.split(key, 3)
        params = unbox(init_params(model, params_key, config.model.init_std))
        training = config.training
        queue = None
        if training.queue_size:
            queue = Queue.create(queue_key, training.queue_size, model.heads["itc"].width)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=optimizer.init(params),
            teacher=None if training.momentum is None else jax.tree.map(jnp.copy, params),
            queue=queue,
            meters={name: Meter.empty() for name in names},
            bad_steps=jnp.zeros((), jnp.int32),
            key=run_key,
        )

    return init


def state_shardings(
    config: ExperimentConfig,
    model: VisionLanguageModel,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    metrics: Iterable[str],
) -> tuple[TrainState, ShardingReport]:
    """Returns the sharding of every leaf of the state, and the report on the parameters."""
    abstract = jax.eval_shape(make_init(config, model, optimizer, metrics), jax.random.key(0))
    params, report = shardings_for(abstract_params(model), mesh)
    replicated = NamedSharding(mesh, PartitionSpec())
    shardings = jax.tree.map(lambda _: replicated, abstract)
    return (
        shardings.replace(
            params=params,
            opt_state=shardings_like(params, abstract.opt_state),
            teacher=None if abstract.teacher is None else params,
        ),
        report,
    )
