"""Tests of the training step: accumulation, the guard against non-finite steps, running means."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.tiny import Stepper, differing, plain, tiny
from vlp_jax.config import ExperimentConfig, TrainingConfig
from vlp_jax.losses.momentum import Queue
from vlp_jax.tasks import TASKS, Result, Task, build_tasks
from vlp_jax.tasks.hidden_regions import shown_whole
from vlp_jax.training import step
from vlp_jax.training.experiment import assemble
from vlp_jax.training.state import Meter
from vlp_jax.training.step import (
    NON_FINITE_SHARE,
    are_finite,
    collect,
    constrained,
    total_loss,
    update_meters,
)


def built(tasks):
    return build_tasks(ExperimentConfig(tasks=tasks))


@pytest.fixture(scope="module")
def poisoned(batches) -> dict:
    """A batch in which one number is not finite."""
    scores = batches[2]["answer_scores"].copy()
    scores[3, 1] = np.nan
    return batches[2] | {"answer_scores": scores}


def adam(state):
    return next(part for part in state.opt_state if hasattr(part, "nu"))


@pytest.mark.slow
def test_accumulating_micro_batches_equals_the_big_batch(batches, single):
    """Contrastive losses too: all vectors are gathered before the loss, as in GradCache."""
    chunked = Stepper(assemble(tiny(training__accumulate=4)), 1, 1, 1)
    assert differing(chunked.initial, single.initial) == []
    (state, rows), (wanted_state, wanted_rows) = chunked.run(batches[:3]), single.run(batches[:3])
    for row, wanted in zip(rows, wanted_rows, strict=True):
        for name in wanted:
            np.testing.assert_allclose(row[name], wanted[name], 1e-5, err_msg=name)
    params, wanted = plain(state.params), plain(wanted_state.params)
    sizes = {name: np.sqrt(nu).max() for name, nu in plain(adam(wanted_state).nu).items()}
    # Attention does not depend on the bias of the keys, so its gradient is rounding alone.
    noise = {name for name, size in sizes.items() if size < 1e-9}
    assert noise and all("['key']['bias']" in name for name in noise)
    for name in wanted.keys() - noise:
        np.testing.assert_allclose(params[name], wanted[name], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(state.tasks["itc"].text, wanted_state.tasks["itc"].text, atol=1e-5)


def check_the_teacher_moved(before, after) -> None:
    teacher, params = plain(before.teacher), plain(before.params)
    for name, value in plain(after.teacher).items():
        np.testing.assert_allclose(value, 0.9 * teacher[name] + 0.1 * params[name], atol=1e-7)


@pytest.mark.slow
def test_a_step_that_is_not_finite_moves_the_teacher_alone_and_is_counted(
    single, batches, poisoned
):
    before, _ = single.step(single.initial, batches[0])
    after, metrics = single.step(before, poisoned)
    assert not np.isfinite(metrics["loss"])
    untouched = ("params", "opt_state", "tasks", "key")
    for part in untouched:
        assert differing(getattr(before, part), getattr(after, part)) == []
    check_the_teacher_moved(before, after)
    assert (int(before.step), int(after.step)) == (1, 2)
    assert (int(before.bad_steps), int(after.bad_steps)) == (0, 1)
    loss, share = after.meters["loss"], after.meters[NON_FINITE_SHARE]
    assert (float(loss.total), float(loss.count)) == (float(before.meters["loss"].total), 1.0)
    assert (float(share.total), float(share.count)) == (1.0, 2.0)


@pytest.mark.slow
def test_a_task_that_would_remember_what_is_not_finite_makes_a_step_bad(single, batches):
    before, _ = single.step(single.initial, batches[0])
    queue = before.tasks["itc"]
    spoilt = queue.replace(image=queue.image.at[-1].set(jnp.nan))  # the loss looks at it, too
    after, _ = single.step(before.replace(tasks=before.tasks | {"itc": spoilt}), batches[1])
    assert int(after.bad_steps) == 1
    assert differing(before.params, after.params) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_of_what_tasks_remember_is_seen(value):
    memory = {"itc": Queue.create(jax.random.key(0), 3, 2), "mlm": None}
    assert bool(are_finite(memory)) and bool(are_finite({"mlm": None}))
    for name in ("image", "text"):
        vectors = getattr(memory["itc"], name).at[-1, -1].set(value)
        assert not are_finite({"itc": memory["itc"].replace(**{name: vectors})})


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_a_step_changes_all_or_nothing_in_either_form(monkeypatch, kind):
    monkeypatch.setattr(step, "traced_for", lambda: kind)
    old = {"a": jnp.arange(3.0), "n": jnp.int32(1)}
    new = jax.tree.map(lambda x: x + 1, old)
    for good, wanted in ((True, new), (False, old)):
        found = jax.jit(lambda good: step.chosen(good, lambda: new, old))(good)
        jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.slow
def test_bad_steps_in_a_row_are_counted_until_a_good_one(single, batches, poisoned):
    state = single.initial
    counts = []
    for batch in (poisoned, poisoned, batches[0], batches[1], poisoned):
        state, _ = single.step(state, batch)
        counts.append(int(state.bad_steps))
    assert counts == [1, 2, 0, 0, 1]
    assert all(np.isfinite(x).all() for x in plain(state.params).values())
    assert differing(state.params, single.initial.params)


def test_running_means_are_those_of_the_steps_since_the_last_line(single_run):
    state, rows = single_run  # five steps, a line every two: the fifth stands alone
    for name, value in rows[4].items():
        meter = state.meters[name]
        assert (float(meter.total), float(meter.count)) == (pytest.approx(value, rel=1e-6), 1.0)


def test_the_queue_takes_the_vectors_of_the_teacher(single, single_run, batches):
    queue = single_run[0].tasks["itc"]  # five batches of eight went into sixteen places
    ids = np.concatenate([batches[i]["image_id"] for i in (4, 3)])
    np.testing.assert_array_equal(queue.ids, ids)
    assert int(queue.pointer) == 8
    for vectors in (queue.image, queue.text):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1.0, rtol=1e-5)


def test_the_teacher_follows_before_the_gradient_is_taken(single, batches):
    state, _ = single.run(batches[:3])
    after, _ = single.step(state, batches[3])
    assert differing(state.teacher, state.params)
    check_the_teacher_moved(state, after)


def test_the_temperature_is_clamped_before_a_step(experiment):
    tasks = experiment.tasks
    params = {"heads_itc": {"temperature": jnp.asarray(5.0), "other": 1}, "text": 2}
    clamped = constrained(params, tasks)
    assert float(clamped["heads_itc"]["temperature"]) == 0.5
    assert (clamped["heads_itc"]["other"], clamped["text"]) == (1, 2)
    assert constrained(params, {"vqa": tasks["vqa"]}) is params


def test_tasks_of_one_kind_have_metrics_of_their_own():
    settings = {"itm": {}, "random": {"kind": "itm", "negatives": "random"}, "mlm": {}}
    results = {
        name: Result(i, {"mlm_accuracy" if name == "mlm" else "itm_accuracy": 0.1 * i})
        for i, name in enumerate(settings)
    }
    metrics = collect(3.0, 5.0, built(settings), results)
    assert metrics == pytest.approx(
        dict(
            loss=3.0,
            gradient_norm=5.0,
            itm_loss=0.0,
            itm_accuracy=0.0,
            random_loss=1.0,
            random_itm_accuracy=0.1,
            mlm_loss=2.0,
            mlm_accuracy=0.2,
        )
    )


def test_a_task_is_told_how_many_steps_came_before():
    class Counting(Task):
        def loss(self, step):
            return Result(1.5 * step.number)

    state = SimpleNamespace(key=jax.random.key(0), step=jnp.int32(7), tasks={})
    tasks = {"it": Counting(weight=2.0)}
    loss, _ = total_loss(None, tasks, TrainingConfig(), state, None, {}, {})
    assert float(loss) == 21.0


def test_contrastive_tasks_share_one_range_of_the_temperature():
    range_of = lambda *limits: {"kind": "itc", "temperature_range": limits}
    assert len(built({"itc": {}, "pairs": range_of(0.001, 0.5)})) == 2
    with pytest.raises(ValueError) as error:
        built({"itc": {}, "pairs": range_of(0.1, 1.0)})
    assert str(error.value).startswith(
        "config.tasks.itc.temperature_range = (0.001, 0.5), "
        "config.tasks.pairs.temperature_range = (0.1, 1.0): these share one"
    )


@pytest.mark.slow
def test_several_contrastive_tasks_have_queues_of_their_own(batches):
    own = {"kind": "itc", "queue_size": 8, "weight": 0.0}
    stepper = Stepper(assemble(tiny("pairs", tasks__small=own)), 1, 1, 1)
    state, _ = stepper.step(stepper.initial, batches[0])
    ids = batches[0]["image_id"].tolist()
    assert state.tasks["small"].ids.tolist() == ids
    assert state.tasks["itc"].ids.tolist() == [*ids, *[-100] * 8]
    np.testing.assert_array_equal(state.tasks["small"].text, state.tasks["itc"].text[:8])


def test_regions_are_all_shown_where_none_is_to_be_predicted():
    batch = {"region_features": 0, "region_targets": 1, "region_hidden": 2, "text_ids": 3}
    hide = {name for name, task in TASKS.items() if task.hides_regions}
    assert hide == {"region_feature", "region_class", "region_labels"}
    assert shown_whole(batch) == {"region_features": 1, "text_ids": 3}
    assert shown_whole({"image": 5}) == {"image": 5}


@pytest.mark.slow
def test_dropout_draws_anew_in_each_step():
    """The same batch from the same parameters: only the number of the step differs."""
    config = tiny("light", model__text_args__dropout=0.5, model__fusion_args__dropout=0.5)
    experiment = assemble(config)
    stepper = Stepper(experiment, 1, 1, 1)
    batch = experiment.mixture.batch(0)
    starts = [stepper.initial.replace(step=jnp.int32(number)) for number in (0, 1, 0)]
    losses = [stepper.step(start, batch)[1]["loss"] for start in starts]
    assert losses[0] == losses[2] != losses[1]


values = st.floats(-1e3, 1e3, width=32)


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), values), min_size=1, max_size=12),
    st.integers(1, 5),
)
def test_meters_equal_the_mean_of_the_window(steps, log_every):
    """Each step is good or not, and gives the metric or (a batch of another source) not."""
    meters = {"loss": Meter.empty(), NON_FINITE_SHARE: Meter.empty()}
    for number, (good, present, value) in enumerate(steps):
        state = SimpleNamespace(step=jnp.int32(number), meters=meters)
        metrics = {"loss": jnp.float32(value if good else np.nan)} if present else {}
        meters = update_meters(state, metrics, jnp.asarray(good), log_every)
    window = steps[(len(steps) - 1) // log_every * log_every :]
    seen = [value for good, present, value in window if good and present]
    assert float(meters["loss"].count) == len(seen)
    np.testing.assert_allclose(meters["loss"].total, np.sum(seen), rtol=1e-4, atol=1e-2)
    bad = sum(not good for good, _, _ in window)
    assert jax.tree.map(float, meters[NON_FINITE_SHARE]) == Meter(float(bad), float(len(window)))
