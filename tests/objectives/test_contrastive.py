"""Tests of the contrastive objective: values by hand, queue, teacher, forms, parts, settings."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.losses.similarity import random_ids, random_queue, unit, views_of
from vlp_jax.losses.momentum import Queue
from vlp_jax.objectives.contrastive import ContrastiveObjective

IMAGE, TEXT = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.8]]
ONE = jnp.ones(())


def views(ids, image=IMAGE, text=TEXT, temperature=0.5):
    return views_of(np.array(ids, np.int32), image, text, temperature)


def test_two_images():
    # Similarities over 0.5: images [[2, 1.2], [0, 1.6]], texts [[2, 0], [1.2, 1.6]].
    result = ContrastiveObjective()(views([3, 8]), None, None, ONE)
    rows = [math.log(1 + math.exp(-gap)) for gap in (0.8, 1.6, 2.0, 0.4)]
    assert result.loss == pytest.approx(sum(rows) / 4, rel=1e-6)
    assert result.loss == pytest.approx(0.298736, abs=1e-6)
    assert result.metrics["itc_accuracy"] == 1 and result.metrics["temperature"] == 0.5
    assert result.enqueue == {}


def test_two_captions_of_one_image_share_the_target():
    result = ContrastiveObjective()(views([7, 7]), None, None, ONE)
    assert result.loss == pytest.approx(0.898736, abs=1e-6)
    assert result.metrics["itc_accuracy"] == 1


def test_accuracy_counts_images_whose_best_text_is_theirs():
    swapped = views([3, 8], text=TEXT[::-1])
    result = ContrastiveObjective()(swapped, None, None, ONE)
    assert result.metrics["itc_accuracy"] == 0
    result = ContrastiveObjective()(views([3, 8], text=[TEXT[0]] * 2), None, None, ONE)
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
    queue = Queue(jnp.asarray(stored[0]), jnp.asarray(stored[1]), jnp.asarray(stored_ids), ONE)
    objective = ContrastiveObjective(
        alpha=alpha,
        in_batch=in_batch,
        queue_ramp=queue_ramp,
        smoothing=smoothing,
        implementation=implementation,
    )
    result = objective(views(ids, *own), views(ids, *taught), queue, jnp.float32(ramp))
    share = ramp if queue_ramp else 1.0
    settings = ids, 0.5, alpha * ramp, in_batch == "online", share, smoothing
    exact = by_hand(own, taught, (*stored, stored_ids), *settings)
    assert result.loss == pytest.approx(exact, rel=1e-5)
    assert result.enqueue.keys() == {"image", "text", "ids"}
    for name, expected in zip(("image", "text", "ids"), (*taught, ids)):
        np.testing.assert_array_equal(result.enqueue[name], expected)


def test_a_queue_full_of_nothing_adds_candidates_but_no_positives():
    far = np.full((4, 2), -50, np.float32)
    queue = Queue(jnp.asarray(far), jnp.asarray(far), jnp.full(4, -100), ONE)
    taught = views([3, 8])
    with_queue = ContrastiveObjective(alpha=0.0)(views([3, 8]), taught, queue, ONE)
    assert with_queue.loss == pytest.approx(0.298736, abs=1e-6)


def test_targets_pass_no_gradient():
    def loss(scale, alpha):
        image = jnp.asarray(IMAGE) * scale
        taught = views([3, 8], image, jnp.asarray(TEXT) * scale)
        return ContrastiveObjective(alpha=alpha)(views([3, 8]), taught, None, ONE).loss

    # Only candidates depend on `scale`; the gradient of a logit is its softmax less its target.
    value, gradient = jax.value_and_grad(loss)(1.0, 1.0)
    assert np.isfinite(value) and abs(gradient) < 1e-6
    assert abs(jax.grad(loss)(1.0, 0.0)) > 0.01


def test_sigmoid_of_two_images():
    # Similarities over 0.5, less 1: images [[1, 0.2], [-1, 0.6]]; texts are its transpose.
    sigmoid = ContrastiveObjective(form="sigmoid")
    result = sigmoid(views_of(np.array([3, 8], np.int32), IMAGE, TEXT, 0.5, -1), None, None, ONE)
    wrong = [math.log(1 + math.exp(x)) for x in (-1, 0.2, -1, -0.6)]
    assert result.loss == pytest.approx(sum(wrong) / 2, rel=1e-6)


def test_sigmoid_with_the_same_image_twice_has_no_negatives():
    sigmoid = ContrastiveObjective(form="sigmoid")
    result = sigmoid(views_of(np.array([7, 7], np.int32), IMAGE, TEXT, 0.5, -1), None, None, ONE)
    right = [math.log(1 + math.exp(-x)) for x in (1, 0.2, -1, 0.6)]
    assert result.loss == pytest.approx(sum(right) / 2, rel=1e-6)


def test_sigmoid_with_teacher_and_ramped_queue_by_hand():
    rng = np.random.default_rng()
    own, taught, ids = (unit(rng, 2), unit(rng, 2)), (unit(rng, 2), unit(rng, 2)), [4, 9]
    queue = random_queue(rng, 3, 10)
    objective = ContrastiveObjective(form="sigmoid", alpha=0.4, queue_ramp=True)
    scale = 0.5, -2.0
    views, teacher = (views_of(np.array(ids, np.int32), *v, *scale) for v in (own, taught))
    found = objective(views, teacher, queue, jnp.float32(0.25)).loss
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


@pytest.mark.parametrize("implementation", ["plain", "ring"])
@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_a_local_batch_is_compared_with_its_own_part(form, implementation):
    rng = np.random.default_rng()
    ids, queue = random_ids(rng, 6, 4), random_queue(rng, 3, 4)
    own, taught = ((unit(rng, 6), unit(rng, 6)) for _ in range(2))
    settings = {"form": form, "implementation": implementation}

    def loss(rows, **more):
        given = (views_of(ids[rows], *(v[rows] for v in vectors)) for vectors in (own, taught))
        return float(ContrastiveObjective(**settings, **more)(*given, queue, ONE).loss)

    parts = [loss(slice(start, start + 2)) for start in (0, 2, 4)]
    assert loss(slice(None), local_batch=2) == pytest.approx(np.mean(parts), rel=1e-5)
    assert loss(slice(None), local_batch=6) == pytest.approx(loss(slice(None)), rel=1e-5)
    with pytest.raises(ValueError, match="local_batch = 4 of an .* itc: a batch of 6 examples"):
        loss(slice(None), local_batch=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"smoothing": 1.0}, r"smoothing = 1.0 of objective itc: must be in \[0, 1\)"),
        ({"smoothing": -0.1}, "smoothing = -0.1 of objective itc"),
        ({"smoothing": 0.1, "form": "sigmoid"}, 'is for form = "softmax"'),
        ({"local_batch": 1}, "local_batch = 1 of objective itc: must be at least 2, or null"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        ContrastiveObjective(**settings)


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
        return ContrastiveObjective(**settings)(
            views_of(ids, image, text), views_of(ids, image, text), queue, ONE
        ).loss

    vectors = jax.ShapeDtypeStruct((size, 4), jnp.float32)
    ids = jax.ShapeDtypeStruct((size,), jnp.int32)
    queue = jax.eval_shape(lambda: Queue.create(jax.random.key(0), max(stored, 1), 4))
    made = jax.make_jaxpr(loss)(vectors, vectors, ids, queue)
    assert ("custom_vjp_call" in str(made)) == rings
