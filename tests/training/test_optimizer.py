"""Tests of AdamW: schedules, parameter groups, decay, and equality with Optax in the plain case."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.config import OptimizerConfig
from vlp_jax.training.optimizer import (
    LARGEST_UPDATE,
    ParameterGroup,
    Setting,
    make_optimizer,
    make_schedule,
    match_groups,
    parameter_settings,
    path_name,
)

PARAMS = {
    "text": {
        "layer_0": {"dense": {"kernel": jnp.full((3, 2), 2.0), "bias": jnp.full(2, 2.0)}},
        "norm": {"scale": jnp.full(3, 2.0), "bias": jnp.full(3, 2.0)},
    },
    "vision": {"stem": {"kernel": jnp.full((2, 2), 2.0), "mean": jnp.full(2, 2.0)}},
    "heads_itc": {"temperature": jnp.asarray(2.0)},
}
ZEROS = jax.tree.map(jnp.zeros_like, PARAMS)


def constant(**fields) -> OptimizerConfig:
    usual = dict(schedule="constant", learning_rate=0.1, weight_decay=0.0)
    return OptimizerConfig(**usual | fields)


def changes(config: OptimizerConfig, grads, params=PARAMS) -> dict[str, float]:
    """Returns how much the first entry of each parameter changes in one step, by path."""
    optimizer = make_optimizer(config, 10, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    flat, _ = jax.tree_util.tree_flatten_with_path(updates)
    return {path_name(path): float(np.ravel(leaf)[0]) for path, leaf in flat}


def test_cosine_schedule_at_its_corners():
    config = OptimizerConfig(learning_rate=0.8, end_learning_rate=0.2, warmup_steps=4)
    schedule = make_schedule(config, 12)
    wanted = {0: 0.0, 1: 0.2, 2: 0.4, 4: 0.8, 8: 0.5, 12: 0.2, 100: 0.2}
    assert {step: pytest.approx(float(schedule(step))) for step in wanted} == wanted


def test_linear_and_constant_schedules_at_their_corners():
    fields = dict(learning_rate=0.8, end_learning_rate=0.2, warmup_steps=2)
    linear = make_schedule(OptimizerConfig(schedule="linear", **fields), 8)
    wanted = [0, 0.4, 0.8, 0.5, 0.2, 0.2]
    assert [float(linear(s)) for s in (0, 1, 2, 5, 8, 9)] == pytest.approx(wanted)
    flat = make_schedule(OptimizerConfig(schedule="constant", **fields), 8)
    assert [float(flat(s)) for s in (0, 1, 2, 5, 800)] == pytest.approx([0, 0.4, 0.8, 0.8, 0.8])


def test_no_warm_up_and_no_rate_are_possible():
    assert float(make_schedule(OptimizerConfig(learning_rate=0.5), 10)(0)) == 0.5
    assert float(make_schedule(OptimizerConfig(learning_rate=0.0), 10)(5)) == 0.0
    all_warm_up = make_schedule(OptimizerConfig(learning_rate=0.5, warmup_steps=5), 5)
    assert float(all_warm_up(5)) == 0.5


@given(
    st.sampled_from(["cosine", "linear", "constant"]),
    st.integers(0, 20),
    st.integers(1, 50),
    st.floats(1e-6, 1.0),
    st.just(0.0) | st.floats(1e-30, 1.0),  # rates that 32 bits hold
)
def test_schedules_stay_between_zero_and_peak(kind, warmup, rest, peak, share):
    config = OptimizerConfig(
        schedule=kind, learning_rate=peak, end_learning_rate=share * peak, warmup_steps=warmup
    )
    steps = warmup + rest
    rates = [float(make_schedule(config, steps)(s)) for s in range(steps + 3)]
    assert min(rates) >= 0 and max(rates) == pytest.approx(peak, rel=1e-5)
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup:] == pytest.approx(sorted(rates[warmup:], reverse=True), rel=1e-5)


def test_the_plain_case_is_adamw():
    """Where everything decays, five steps equal `optax.adamw` with the same numbers."""
    keys = jax.random.split(jax.random.key(3), 6)
    params = {"kernel": jax.random.normal(keys[0], (4, 3)), "table": jnp.ones(5)}
    config = OptimizerConfig(
        learning_rate=1e-2, weight_decay=0.3, beta1=0.8, beta2=0.95, epsilon=1e-6, warmup_steps=2
    )
    ours = make_optimizer(config, 9, params)
    theirs = optax.adamw(make_schedule(config, 9), 0.8, 0.95, 1e-6, weight_decay=0.3)
    states = [ours.init(params), theirs.init(params)]
    both = [params, params]
    for key in keys[1:]:
        grads = jax.tree.map(lambda p: jax.random.normal(key, p.shape), params)
        for i, optimizer in enumerate((ours, theirs)):
            updates, states[i] = optimizer.update(grads, states[i], both[i])
            both[i] = optax.apply_updates(both[i], updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *both)
    assert not np.allclose(both[0]["kernel"], params["kernel"])


def test_decay_leaves_out_biases_scales_and_statistics():
    # Without a gradient the change is -rate · decay · value = -0.1 · 0.5 · 2.
    assert changes(constant(weight_decay=0.5), ZEROS) == {
        "heads_itc/temperature": pytest.approx(-0.1),
        "text/layer_0/dense/bias": 0.0,
        "text/layer_0/dense/kernel": pytest.approx(-0.1),
        "text/norm/bias": 0.0,
        "text/norm/scale": 0.0,
        "vision/stem/kernel": pytest.approx(-0.1),
        "vision/stem/mean": 0.0,
    }


def test_a_group_scales_decay_and_may_decay_everything():
    groups = (
        dict(pattern="^text/", decay_all=True, weight_decay=0.5),
        dict(pattern="temperature", weight_decay=0.0),
    )
    changed = changes(constant(weight_decay=0.5, groups=groups), ZEROS)
    assert {k: v for k, v in changed.items() if v} == {
        "text/layer_0/dense/bias": pytest.approx(-0.05),
        "text/layer_0/dense/kernel": pytest.approx(-0.05),
        "text/norm/bias": pytest.approx(-0.05),
        "text/norm/scale": pytest.approx(-0.05),
        "vision/stem/kernel": pytest.approx(-0.1),
    }


def test_the_first_group_that_matches_wins():
    groups = (
        dict(pattern="dense/kernel", learning_rate=3.0),
        dict(pattern="^text/", learning_rate=0.5),
        dict(pattern="vision", frozen=True),
    )
    grads = jax.tree.map(jnp.ones_like, PARAMS)
    # Adam's first step is the rate itself, whatever the gradient's size.
    assert changes(constant(weight_decay=0.0, groups=groups), grads) == {
        "heads_itc/temperature": pytest.approx(-0.1, rel=1e-4),
        "text/layer_0/dense/bias": pytest.approx(-0.05, rel=1e-4),
        "text/layer_0/dense/kernel": pytest.approx(-0.3, rel=1e-4),
        "text/norm/bias": pytest.approx(-0.05, rel=1e-4),
        "text/norm/scale": pytest.approx(-0.05, rel=1e-4),
        "vision/stem/kernel": 0.0,
        "vision/stem/mean": 0.0,
    }


def test_frozen_parameters_do_not_decay_either():
    groups = (dict(pattern=".*", frozen=True),)
    assert set(changes(constant(weight_decay=0.5, groups=groups), ZEROS).values()) == {0.0}


def test_gradients_are_clipped_by_their_global_norm():
    grads = jax.tree.map(lambda x: jnp.full_like(x, 7.0), PARAMS)
    optimizer = make_optimizer(constant(clip_norm=0.5, beta1=0.0), 10, PARAMS)
    _, state = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    seen = next(part for part in state if hasattr(part, "mu")).mu
    assert float(optax.tree.norm(seen)) == pytest.approx(0.5)


def test_a_norm_that_is_known_is_not_computed_again():
    grads = jax.tree.map(lambda x: jnp.full_like(x, 7.0), PARAMS)
    optimizer = make_optimizer(constant(clip_norm=0.5, beta1=0.0), 10, PARAMS)
    _, state = optimizer.update(grads, optimizer.init(PARAMS), PARAMS, norm=jnp.asarray(1.0))
    seen = next(part for part in state if hasattr(part, "mu")).mu
    assert float(seen["text"]["norm"]["scale"][0]) == pytest.approx(3.5)


def test_short_gradients_are_left_as_they_are():
    grads = jax.tree.map(lambda x: jnp.full_like(x, 0.01), PARAMS)
    optimizer = make_optimizer(constant(clip_norm=0.5, beta1=0.0), 10, PARAMS)
    _, state = optimizer.update(grads, optimizer.init(PARAMS), PARAMS)
    seen = next(part for part in state if hasattr(part, "mu")).mu
    jax.tree.map(np.testing.assert_array_equal, seen, grads)


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("size", [0.0, 1e-44, 1.0, 1e17])
@pytest.mark.parametrize("rate", [1e-3, 1e30])
def test_a_finite_gradient_leaves_a_finite_state(name, size, rate):
    config = constant(name=name, learning_rate=rate, weight_decay=1.0, momentum_dtype="bfloat16")
    optimizer = make_optimizer(config, 10, PARAMS)
    grads = jax.tree.map(lambda x: jnp.full_like(x, size), PARAMS)
    params, state = PARAMS, optimizer.init(PARAMS)
    for _ in range(3):
        updates, state = jax.jit(optimizer.update)(grads, state, params)
        params = optax.apply_updates(params, updates)
    numbers = [np.asarray(x, np.float32) for x in jax.tree.leaves((params, state))]
    assert all(np.isfinite(x).all() for x in numbers)
    assert max(np.abs(x).max() for x in jax.tree.leaves(params)) <= 2 + 3 * LARGEST_UPDATE


def test_shapes_suffice_to_match_groups():
    shapes = jax.eval_shape(lambda: PARAMS)
    matched = match_groups((dict(pattern="norm", weight_decay=0.0),), shapes)
    assert matched["text"]["norm"]["scale"] == (ParameterGroup("norm", weight_decay=0.0),)
    assert matched["vision"]["stem"]["kernel"] == (ParameterGroup(),)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((dict(pattern="audio"),), r'groups\[0\].pattern = "audio" matches no parameter'),
        (
            (dict(pattern="."), dict(pattern="text")),
            r'groups\[1\].pattern = "text" matches no parameter that an earlier group left',
        ),
        ((dict(pattern="text["),), r'groups\[0\].pattern = "text\[" is no regular expression'),
        ((dict(patern="text"),), r'groups\[0\].patern: no such field. Did you mean "pattern"'),
        ((dict(pattern="text", frozen=1),), r"groups\[0\].frozen = 1 \(int\): expected bool"),
    ],
)
def test_bad_groups_are_named(groups, message):
    with pytest.raises(ValueError, match=r"config.optimizer.*" + message):
        make_optimizer(constant(groups=groups), 10, PARAMS)


def test_warm_up_in_stairs_and_decay_by_epochs_as_albef_has_them():
    """20 stairs of 100 iterations from 1e-5, then flat to the end of epoch 0, then a step an epoch.

    `scheduler.step(epoch + 20)` of ALBEF gives cos(π · epoch / epochs).
    """
    config = OptimizerConfig(
        learning_rate=1e-4,
        end_learning_rate=1e-5,
        warmup_steps=2000,
        warmup_from=1e-5,
        warmup_stair=100,
        epoch_steps=10_000,
    )
    schedule = make_schedule(config, 300_000)
    cosine = lambda epoch: 1e-5 + 4.5e-5 * (1 + np.cos(np.pi * epoch / 30))
    wanted = {
        0: 1e-5,
        99: 1e-5,
        100: 1.45e-5,
        1999: 9.55e-5,
        2000: 1e-4,
        9999: 1e-4,
        10_000: cosine(1),
        19_999: cosine(1),
        299_999: cosine(29),
    }
    assert {step: pytest.approx(float(schedule(step)), rel=1e-5) for step in wanted} == wanted


def test_adam_without_bias_correction_as_bert_has_it():
    config = constant(bias_correction=False, beta1=0.9, beta2=0.99, epsilon=1e-6)
    params = {"kernel": jnp.asarray([1.0, 1.0])}
    optimizer = make_optimizer(config, 10, params)
    state = optimizer.init(params)
    mean = square = np.zeros(2)
    for gradient in np.random.default_rng().normal(size=(3, 2)):
        updates, state = optimizer.update({"kernel": jnp.asarray(gradient)}, state, params)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        wanted = -0.1 * mean / (np.sqrt(square) + 1e-6)
        np.testing.assert_allclose(updates["kernel"], wanted, rtol=1e-5, atol=1e-6)


def test_settings_of_every_parameter():
    groups = (
        dict(pattern="norm/scale", decay_all=True, learning_rate=0.5),
        dict(pattern="vision", frozen=True),
    )
    settings = parameter_settings(OptimizerConfig(weight_decay=0.25, groups=groups), PARAMS)
    assert settings["text"]["norm"]["scale"] == Setting(0.5, 0.25)
    assert settings["text"]["norm"]["bias"] == Setting(1.0, 0.0)
    assert settings["text"]["layer_0"]["dense"]["kernel"] == Setting(1.0, 0.25)
    assert settings["vision"]["stem"]["kernel"].learning_rate == 0.0
    assert settings["vision"]["stem"]["mean"].weight_decay == 0.0


STACKED = {"text": {"layers": {"dense": {"kernel": jnp.full((3, 2, 2), 2.0)}}}}


def test_a_group_may_be_one_layer_of_a_stack():
    groups = (
        dict(pattern="text/layer_0/", frozen=True),
        dict(pattern="text/layer_1/", learning_rate=0.5, weight_decay=0.0),
    )
    config = constant(groups=groups, weight_decay=0.25)
    setting = parameter_settings(config, STACKED)["text"]["layers"]["dense"]["kernel"]
    assert setting == Setting((0.0, 0.5, 1.0), (0.25, 0.0, 0.25))
    optimizer = make_optimizer(config, 10, STACKED)
    grads = jax.tree.map(jnp.ones_like, STACKED)
    updates, _ = optimizer.update(grads, optimizer.init(STACKED), STACKED)
    moves = updates["text"]["layers"]["dense"]["kernel"]
    wanted = np.array([0.0, -0.05, -0.15])[:, None, None]
    np.testing.assert_allclose(moves, np.broadcast_to(wanted, moves.shape), rtol=1e-5)


def test_a_layer_that_is_not_there_matches_nothing():
    with pytest.raises(ValueError, match=r'pattern = "text/layer_3/" matches no parameter'):
        make_optimizer(constant(groups=(dict(pattern="text/layer_3/"),)), 10, STACKED)
