"""AdamW or Muon with warm-up, decay and parameter groups, from an `OptimizerConfig`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vlp_jax.config import OptimizerConfig, build
from vlp_jax.config.patterns import regex
from vlp_jax.config.ranges import NonNegative
from vlp_jax.layers.layer_names import layer_paths
from vlp_jax.training.muon import scale_by_muon_or_adam

# Biases and the scales of normalisations are not decayed unless a group says so.
UNDECAYED = ("bias", "scale")

# No parameter moves further in a step, whatever the learning rate: from a finite gradient comes a
# finite state, and no step has to look.
LARGEST_UPDATE = 1e15

# Stored statistics of batch normalisation have no gradient and are never decayed.
STATISTICS = ("mean", "variance")


@dataclass(frozen=True)
class ParameterGroup:
    """Settings of the parameters whose path ("text/layer_0/…") matches a regular expression.

    Layers of a stack are matched one by one, each by its own path, though they are one array.
    `learning_rate` and `weight_decay` multiply the optimizer's; `decay_all` decays biases and
    normalisation scales of the group too; `frozen` parameters never change.
    """

    pattern: str = ".*"
    learning_rate: NonNegative = 1.0
    weight_decay: NonNegative = 1.0
    decay_all: bool = False
    frozen: bool = False


@dataclass(frozen=True)
class Setting:
    """What the optimizer does to one parameter: the factor of its learning rate, and its decay.

    For stacked layers that differ in it, one number for each layer.
    """

    learning_rate: float | tuple[float, ...]
    weight_decay: float | tuple[float, ...]


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Returns the learning rate by step: linear warm-up, then cosine, linear or no decay.

    With `epoch_steps` the decay is over all steps and goes by whole epochs, so that the rate stays
    at its peak from the end of the warm-up to that of the first epoch (ALBEF `Pretrain.py`).
    """
    by_epoch = config.epoch_steps > 0
    rest = steps if by_epoch else max(steps - config.warmup_steps, 1)
    ratio = config.end_learning_rate / config.learning_rate if config.learning_rate else 0.0
    decay = {
        "cosine": lambda: optax.cosine_decay_schedule(config.learning_rate, rest, alpha=ratio),
        "linear": lambda: optax.linear_schedule(
            config.learning_rate, config.end_learning_rate, rest
        ),
        "constant": lambda: optax.constant_schedule(config.learning_rate),
    }[config.schedule]()
    if by_epoch:
        whole = _in_stairs(decay, config.epoch_steps)
        decay = lambda step: whole(step + config.warmup_steps)
    warmup = optax.linear_schedule(config.warmup_from, config.learning_rate, config.warmup_steps)
    stairs = _in_stairs(warmup, config.warmup_stair)
    return optax.join_schedules([stairs, decay], [config.warmup_steps])


def _in_stairs(schedule: optax.Schedule, size: int) -> optax.Schedule:
    """Returns the schedule held for `size` steps at a time, at the value of the first."""
    return schedule if size == 1 else lambda step: schedule(step // size * size)


def make_optimizer(
    config: OptimizerConfig, steps: int, params: Any
) -> optax.GradientTransformationExtraArgs:
    """Returns clip → Adam or Muon → decoupled weight decay → group factors → learning rate.

    Updates of a finite gradient are finite, see `LARGEST_UPDATE`. Its `update` takes the gradient's
    norm as `norm`, where that is known.

    `params` (shapes suffice) give the paths that groups match. Raises ValueError for a group with
    an unknown field, an invalid pattern, or one that matches nothing.
    """
    settings = parameter_settings(config, params)
    clip = [_clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    return optax.chain(
        *clip,
        _direction(config, params),
        _add_decayed(settings),
        _scale_by(settings),
        _limited(optax.scale_by_learning_rate(make_schedule(config, steps))),
    )


def _clip_by_global_norm(limit: float) -> optax.GradientTransformationExtraArgs:
    """Returns what shortens gradients whose norm is above `limit`; a step may give the norm.

    It is optax's but for rounding: that one divides, which XLA's CPU compiler writes to memory for
    the moments to read.
    """

    def shortened(grads: Any, state: Any, params: Any = None, *, norm=None, **_: Any) -> tuple:
        norm = optax.tree.norm(grads) if norm is None else norm
        factor = jnp.minimum(1.0, limit / norm)
        return jax.tree.map(lambda x: x * factor.astype(x.dtype), grads), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), shortened)


def _limited(last: optax.GradientTransformation) -> optax.GradientTransformation:
    """Returns `last`, none of whose updates is larger than `LARGEST_UPDATE`."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple:
        updates, state = last.update(updates, state, params)
        limited = lambda x: jnp.clip(x, -LARGEST_UPDATE, LARGEST_UPDATE)
        return jax.tree.map(limited, updates), state

    return optax.GradientTransformation(last.init, update)


def _direction(config: OptimizerConfig, params: Any) -> optax.GradientTransformation:
    """Returns what turns gradients into directions, before decay and learning rate."""
    kept = config.momentum_dtype
    adam = optax.scale_by_adam(config.beta1, config.beta2, config.epsilon, mu_dtype=kept)
    if not config.bias_correction:
        adam = _uncorrected(adam, config.epsilon)
    if config.name == "adamw":
        return adam
    return scale_by_muon_or_adam(params, config.muon_momentum, config.muon_rms, adam, kept)


def _uncorrected(
    adam: optax.GradientTransformation, epsilon: float
) -> optax.GradientTransformation:
    """Returns Adam whose moments are used as they are (`BertAdam` of pytorch-pretrained-BERT)."""

    def update(updates, state, params=None):
        _, state = adam.update(updates, state, params)
        direction = lambda mean, square: mean / (jnp.sqrt(square) + epsilon)
        return jax.tree.map(direction, state.mu, state.nu), state

    return optax.GradientTransformation(adam.init, update)


def parameter_settings(config: OptimizerConfig, params: Any) -> Any:
    """Returns the `Setting` of every parameter; see `make_optimizer` for what it raises."""

    def setting(path: tuple, groups: tuple[ParameterGroup, ...]) -> Setting:
        rates = tuple(0.0 if group.frozen else group.learning_rate for group in groups)
        decays = tuple(_decay(config, path, group) for group in groups)
        return Setting(_one_if_equal(rates), _one_if_equal(decays))

    matched = match_groups(config.groups, params)
    return jax.tree_util.tree_map_with_path(setting, matched, is_leaf=_is_groups)


def _one_if_equal(values: tuple[float, ...]) -> float | tuple[float, ...]:
    return values[0] if len(set(values)) == 1 else values


def _is_groups(x: Any) -> bool:
    return isinstance(x, tuple) and all(isinstance(group, ParameterGroup) for group in x)


def parameter_groups(groups: Sequence[Mapping[str, Any]]) -> list[ParameterGroup]:
    """Returns `config.optimizer.groups`; ValueError for a wrong field and an invalid pattern."""
    built = []
    for i, values in enumerate(groups):
        where = f"config.optimizer.groups[{i}]"
        built.append(build(ParameterGroup, values, where))
        regex(built[-1].pattern, f"{where}.pattern = ")
    return built


def match_groups(groups: tuple[dict, ...], params: Any) -> Any:
    """Returns the groups of every parameter: one, or of a stacked one those of its layers.

    The first pattern that matches wins.
    """
    built = parameter_groups(groups)
    patterns = [re.compile(group.pattern) for group in built]
    used = set()

    def find(name: str) -> ParameterGroup:
        for i, pattern in enumerate(patterns):
            if pattern.search(name):
                used.add(i)
                return built[i]
        return ParameterGroup()

    def find_all(path: tuple, x: Any) -> tuple[ParameterGroup, ...]:
        return tuple(map(find, layer_paths(path_name(path), x.shape)))

    matched = jax.tree_util.tree_map_with_path(find_all, params)
    for i, group in enumerate(built):
        if i not in used:
            raise ValueError(
                f'config.optimizer.groups[{i}].pattern = "{group.pattern}" matches no parameter '
                "that an earlier group left"
            )
    return matched


def path_name(path: tuple) -> str:
    """Returns a tree path as text, such as "text/layers/feed_forward/norm/scale"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _decay(config: OptimizerConfig, path: tuple, group: ParameterGroup) -> float:
    name = path_name(path).rsplit("/", 1)[-1]
    decayed = name not in STATISTICS and (group.decay_all or name not in UNDECAYED)
    return config.weight_decay * group.weight_decay if decayed else 0.0


def _add_decayed(settings: Any) -> optax.GradientTransformation:
    return optax.stateless(
        lambda updates, params: jax.tree.map(
            lambda u, p, s: u + _by_layer(s.weight_decay, p) * p, updates, params, settings
        )
    )


def _scale_by(settings: Any) -> optax.GradientTransformation:
    return optax.stateless(
        lambda updates, params: jax.tree.map(
            lambda u, s: u * _by_layer(s.learning_rate, u), updates, settings
        )
    )


def _by_layer(value: float | tuple[float, ...], array: Any) -> jax.Array:
    """Returns a number, or one for each layer of a stacked array, ready to multiply it."""
    value = jnp.asarray(value, array.dtype)
    return value if value.ndim == 0 else value.reshape(-1, *(1,) * (array.ndim - 1))
