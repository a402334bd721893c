"""Tests of the contrastive task: values by hand, queue, teacher, forms, parts, settings."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.losses.similarity import random_ids, random_queue, unit, views_of
from tests.tasks.fakes import loss_of
from vlp_jax.config import ExperimentConfig
from vlp_jax.losses.momentum import Queue
from vlp_jax.tasks import build_tasks
from vlp_jax.tasks.contrast import ContrastiveTask

IMAGE, TEXT = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.8]]
START = jnp.zeros((), jnp.int32)


def views(ids, image=IMAGE, text=TEXT, temperature=0.5):
    return views_of(np.array(ids, np.int32), image, text, temperature)


def test_two_images():
    # Similarities over 0.5: images [[2, 1.2], [0, 1.6]], texts [[2, 0], [1.2, 1.6]].
    result = loss_of(ContrastiveTask(), views([3, 8]))
    rows = [math.log(1 + math.exp(-gap)) for gap in (0.8, 1.6, 2.0, 0.4)]
    assert result.loss == pytest.approx(sum(rows) / 4, rel=1e-6)
    assert result.loss == pytest.approx(0.298736, abs=1e-6)
    assert result.metrics["itc_accuracy"] == 1 and result.metrics["temperature"] == 0.5
    assert result.state is None


def test_two_captions_of_one_image_share_the_target():
    result = loss_of(ContrastiveTask(), views([7, 7]))
    assert result.loss == pytest.approx(0.898736, abs=1e-6)
    assert result.metrics["itc_accuracy"] == 1


def test_accuracy_counts_images_whose_best_text_is_theirs():
    swapped = views([3, 8], text=TEXT[::-1])
    result = loss_of(ContrastiveTask(), swapped)
    assert result.metrics["itc_accuracy"] == 0
    result = loss_of(ContrastiveTask(), views([3, 8], text=[TEXT[0]] * 2))
    assert result.metrics["itc_accuracy"] == 0.5


def softmax(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b))


def by_hand(own, teacher, queue, ids, temperature, alpha, online=False, share=1.0, smoothing=0.0):
    """Computes the loss with loops over plain numbers."""
    all_ids, total = [*ids, *queue[2]], 0.0
    shares = [1.0] * len(ids) + [share] * len(queue[2])
    extra = [math.log(s) for s in shares]

    def row(vector, columns):
        return softmax([dot(vector, c) / temperature + e for c, e in zip(columns, extra)])

    for rows, other in ((0, 1), (1, 0)):
        taught = [*teacher[other], *queue[other]]
        columns = [*own[other], *queue[other]] if online else taught
        for i, vector in enumerate(own[rows]):
            same = [s * (found == ids[i]) for found, s in zip(all_ids, shares)]
            soft = row(teacher[rows][i], taught)
            hard = [
                (1 - smoothing) * p / sum(same) + smoothing * s / sum(shares)
                for p, s in zip(same, shares)
            ]
            targets = [alpha * s + (1 - alpha) * h for s, h in zip(soft, hard)]
            total -= sum(t * math.log(c) for t, c in zip(targets, row(vector, columns)))
    return total / len(ids) / 2


@pytest.mark.slow
@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.floats(0.01, 1),
    st.integers(1, 3),
    st.sampled_from(["teacher", "online"]),
    st.booleans(),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from(["plain", "ring"]),
)
def test_with_teacher_and_queue(
    seed, alpha, ramp, size, in_batch, queue_ramp, smoothing, implementation
):
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.normal(size=(n, 3)).astype(np.float32) / 2
    own, taught, stored = (draw(3), draw(3)), (draw(3), draw(3)), (draw(size), draw(size))
    ids = rng.integers(0, 3, 3).astype(np.int32)
    stored_ids = rng.choice([-100, 0, 1, 2], size).astype(np.int32)
    queue = Queue(jnp.asarray(stored[0]), jnp.asarray(stored[1]), jnp.asarray(stored_ids), START)
    task = ContrastiveTask(
        alpha=alpha,
        in_batch=in_batch,
        queue_ramp=queue_ramp,
        smoothing=smoothing,
        implementation=implementation,
    )
    result = loss_of(task, views(ids, *own), views(ids, *taught), queue, ramp)
    share = ramp if queue_ramp else 1.0
    settings = ids, 0.5, alpha * ramp, in_batch == "online", share, smoothing
    exact = by_hand(own, taught, (*stored, stored_ids), *settings)
    assert result.loss == pytest.approx(exact, rel=1e-5)
    jax.tree.map(np.testing.assert_array_equal, result.state, queue.push(*taught, ids))


def test_a_queue_full_of_nothing_adds_candidates_but_no_positives():
    far = np.full((4, 2), -50, np.float32)
    queue = Queue(jnp.asarray(far), jnp.asarray(far), jnp.full(4, -100), START)
    taught = views([3, 8])
    with_queue = loss_of(ContrastiveTask(alpha=0.0), views([3, 8]), taught, queue)
    assert with_queue.loss == pytest.approx(0.298736, abs=1e-6)


@pytest.mark.parametrize("implementation", ["plain", "ring"])
def test_the_teacher_passes_no_gradient(implementation):
    def loss(scale, alpha):
        image = jnp.asarray(IMAGE) * scale
        taught = views([3, 8], image, jnp.asarray(TEXT) * scale)
        task = ContrastiveTask(alpha=alpha, implementation=implementation)
        return loss_of(task, views([3, 8]), taught).loss

    # Columns and targets are of the teacher, which follows the model and is not trained.
    for alpha in (0.0, 1.0):
        assert abs(loss(1.0, alpha) - loss(0.5, alpha)) > 0.01
        assert jax.grad(loss)(1.0, alpha) == 0


def test_sigmoid_of_two_images():
    # Similarities over 0.5, less 1: images [[1, 0.2], [-1, 0.6]]; texts are its transpose.
    given = views_of(np.array([3, 8], np.int32), IMAGE, TEXT, 0.5, -1)
    result = loss_of(ContrastiveTask(form="sigmoid"), given)
    wrong = [math.log(1 + math.exp(x)) for x in (-1, 0.2, -1, -0.6)]
    assert result.loss == pytest.approx(sum(wrong) / 2, rel=1e-6)


def test_sigmoid_with_the_same_image_twice_has_no_negatives():
    given = views_of(np.array([7, 7], np.int32), IMAGE, TEXT, 0.5, -1)
    result = loss_of(ContrastiveTask(form="sigmoid"), given)
    right = [math.log(1 + math.exp(-x)) for x in (1, 0.2, -1, 0.6)]
    assert result.loss == pytest.approx(sum(right) / 2, rel=1e-6)


def test_sigmoid_with_teacher_and_ramped_queue_by_hand():
    rng = np.random.default_rng()
    own, taught, ids = (unit(rng, 2), unit(rng, 2)), (unit(rng, 2), unit(rng, 2)), [4, 9]
    queue = random_queue(rng, 3, 10)
    task = ContrastiveTask(form="sigmoid", alpha=0.4, queue_ramp=True)
    scale = 0.5, -2.0
    views, teacher = (views_of(np.array(ids, np.int32), *v, *scale) for v in (own, taught))
    found = loss_of(task, views, teacher, queue, 0.25).loss
    total, all_ids = 0.0, [*ids, *np.asarray(queue.ids)]
    for rows, columns, stored in ((0, 1, queue.text), (1, 0, queue.image)):
        others = np.concatenate([taught[columns], stored])
        for i in range(2):
            for j, other in enumerate(others):
                logit, soft = (dot(v[rows][i], other) / 0.5 - 2 for v in (own, taught))
                target = 0.1 / (1 + math.exp(-soft)) + 0.9 * (all_ids[j] == ids[i])
                loss = target * math.log(1 + math.exp(-logit))
                loss += (1 - target) * math.log(1 + math.exp(logit))
                total += loss * (1.0 if j < 2 else 0.25)
    assert found == pytest.approx(total / 4, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["plain", "ring"])
@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_a_local_batch_is_compared_with_its_own_part(form, implementation):
    rng = np.random.default_rng()
    ids, queue = random_ids(rng, 6, 4), random_queue(rng, 3, 4)
    own, taught = ((unit(rng, 6), unit(rng, 6)) for _ in range(2))
    settings = {"form": form, "implementation": implementation}

    def loss(rows, **more):
        given = (views_of(ids[rows], *(v[rows] for v in vectors)) for vectors in (own, taught))
        result = loss_of(ContrastiveTask(**settings, **more), *given, queue)
        return float(result.loss), float(result.metrics["itc_accuracy"])

    parts = [loss(slice(start, start + 2)) for start in (0, 2, 4)]
    assert loss(slice(None), local_batch=2) == pytest.approx(np.mean(parts, 0), rel=1e-5)
    assert loss(slice(None), local_batch=6) == pytest.approx(loss(slice(None)), rel=1e-5)
    with pytest.raises(
        ValueError, match="local_batch = 4 of a contrastive task: a batch of 6 examples"
    ):
        loss(slice(None), local_batch=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"smoothing": 1.0}, r"smoothing = 1\.0: must be in \[0, 1\)"),
        ({"smoothing": -0.1}, r"smoothing = -0\.1: must be in"),
        ({"smoothing": 0.1, "form": "sigmoid"}, r'smoothing = 0\.1: it is for form = "softmax"'),
        ({"local_batch": 1}, r"local_batch = 1: must be at least 2"),
        ({"temperature_range": (0.5, 0.1)}, r"temperature_range = \(0\.5, 0\.1\): the lower"),
        ({"temperature_range": (0.0, 0.1)}, r"temperature_range\[0\] = 0\.0: must be above 0"),
        ({"queue_size": 8}, r"queue_size = 8 needs a momentum teacher that fills the queue"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=r"config\.tasks\.itc\." + message):
        build_tasks(ExperimentConfig(tasks={"itc": settings}))


def test_tasks_that_share_the_temperature_give_it_one_range():
    other = {"kind": "itc", "temperature_range": (0.1, 0.2)}
    build_tasks(ExperimentConfig(tasks={"mine": other, "itc": {"temperature_range": [0.1, 0.2]}}))
    with pytest.raises(ValueError, match=r"mine\.temperature_range = \(0\.1, 0\.2\), .* one range"):
        build_tasks(ExperimentConfig(tasks={"mine": other, "itc": {}}))


def test_the_temperature_is_clamped_before_a_step():
    params = {"heads_itc": {"temperature": jnp.float32(0.7), "bias": 3.0}, "text": 1}
    held = ContrastiveTask(temperature_range=(0.001, 0.5)).constrain(params)
    assert held == {"heads_itc": {"temperature": 0.5, "bias": 3.0}, "text": 1}
    low = ContrastiveTask(temperature_range=(0.8, 0.9)).constrain(params)
    assert low["heads_itc"]["temperature"] == jnp.float32(0.8)


def test_the_queue_is_the_tasks_state():
    model = SimpleNamespace(head={"itc": SimpleNamespace(width=6)}.get)
    assert ContrastiveTask().state(model, jax.random.key(0)) is None
    queue = ContrastiveTask(queue_size=5).state(model, jax.random.key(0))
    assert queue.image.shape == (5, 6) and queue.ids.tolist() == [-100] * 5


def test_the_sigmoid_form_asks_for_a_bias():
    given = views([3, 8])
    del given.params["heads_itc"]["bias"]
    with pytest.raises(ValueError, match="set config.model.heads.itc.bias .SigLIP: -10"):
        loss_of(ContrastiveTask(form="sigmoid"), given)
    assert loss_of(ContrastiveTask(), given).loss == pytest.approx(0.298736, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "size", "stored", "rings"),
    [
        ({}, 64, 65536, False),
        ({}, 8192, 0, True),
        ({}, 512, 65536, True),
        ({"local_batch": 64}, 8192, 0, False),
        ({"implementation": "ring"}, 8, 0, True),
        ({"implementation": "plain"}, 8192, 65536, False),
    ],
)
def test_large_similarities_take_the_ring(settings, size, stored, rings):
    def loss(image, text, ids, queue):
        queue = queue if stored else None
        given = views_of(ids, image, text), views_of(ids, image, text)
        return loss_of(ContrastiveTask(**settings), *given, queue).loss

    vectors = jax.ShapeDtypeStruct((size, 4), jnp.float32)
    ids = jax.ShapeDtypeStruct((size,), jnp.int32)
    queue = jax.eval_shape(lambda: Queue.create(jax.random.key(0), max(stored, 1), 4))
    made = jax.make_jaxpr(loss)(vectors, vectors, ids, queue)
    assert ("custom_vjp_call" in str(made)) == rings
