"""TrainState: everything that a step changes, sharded by rule and saved whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from vlp_jax.config import ExperimentConfig
from vlp_jax.model import VisionLanguageModel
from vlp_jax.model.model import init_params
from vlp_jax.parallel import ShardingReport, shardings_for, shardings_like, unbox
from vlp_jax.tasks import Task


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
      tasks: what each task remembers, by its name; None for most.
      meters: running means of the metrics since the last log line, so that a resumed run logs
        exactly what an uninterrupted one does.
      bad_steps: non-finite steps in a row.
      key: PRNG key of the run; each step folds in its number.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any
    teacher: Any
    tasks: dict[str, Any]
    meters: dict[str, Meter]
    bad_steps: Int[Array, ""]
    key: Array


@dataclass(frozen=True)
class StateMaker:
    """What a state is made from; its shapes, shardings and first values.

    Attributes:
      boxed: the parameters as shapes with logical axis names, see `abstract_params`.
      metrics: the names of all meters.
    """

    config: ExperimentConfig
    model: VisionLanguageModel
    boxed: Any
    optimizer: optax.GradientTransformation
    tasks: Mapping[str, Task]
    metrics: tuple[str, ...]
    mesh: Mesh

    def init(self, key: Array) -> TrainState:
        """Returns the state of step 0; a pure function."""
        params_key, tasks_key, run_key = jax.random.split(key, 3)
        params = unbox(init_params(self.model, params_key, self.config.model.init_std))
        return self._around(params, tasks_key, run_key)

    @cached_property
    def shapes(self) -> TrainState:
        """The state as shapes, for which the model need not be traced again."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        return jax.eval_shape(self._around, unbox(self.boxed), key, key)

    @cached_property
    def shardings(self) -> TrainState:
        """The sharding of every leaf."""
        params, _ = self._params_shardings
        replicated = NamedSharding(self.mesh, PartitionSpec())
        shardings = jax.tree.map(lambda _: replicated, self.shapes)
        return shardings.replace(
            params=params,
            opt_state=shardings_like(params, self.shapes.opt_state),
            teacher=None if self.shapes.teacher is None else params,
        )

    @property
    def report(self) -> ShardingReport:
        """How the parameters are laid out."""
        return self._params_shardings[1]

    @property
    def abstract(self) -> TrainState:
        """The state as shapes with shardings."""
        with_sharding = lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s)
        return jax.tree.map(with_sharding, self.shapes, self.shardings)

    def create(self) -> TrainState:
        """Initialises the state directly in its shards; nothing is ever whole on one device."""
        # One run of cheap code: on a CPU compiling it well takes longer than running it badly.
        cheap = {"xla_backend_optimization_level": 0}
        options = cheap if jax.default_backend() == "cpu" else None
        jitted = jax.jit(self.init, out_shardings=self.shardings, compiler_options=options)
        return jitted(jax.random.key(self.config.seed))

    @cached_property
    def _params_shardings(self) -> tuple[Any, ShardingReport]:
        return shardings_for(self.boxed, self.mesh)

    def _around(self, params: Any, tasks_key: Array, run_key: Array) -> TrainState:
        """Returns the state of step 0 with these parameters."""
        keys = jax.random.split(tasks_key, max(len(self.tasks), 1))
        states = {
            name: task.state(self.model, key) for (name, task), key in zip(self.tasks.items(), keys)
        }
        training = self.config.training
        copied = lambda x: jnp.array(x, training.teacher_dtype, copy=True)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=params,
            opt_state=self.optimizer.init(params),
            teacher=None if training.momentum is None else jax.tree.map(copied, params),
            tasks=states,
            meters={name: Meter.empty() for name in self.metrics},
            bad_steps=jnp.zeros((), jnp.int32),
            key=run_key,
        )
