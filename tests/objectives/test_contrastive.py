"""Tests of the contrastive loss: values computed by hand, queue, teacher, repeated images."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.objectives.fakes import FakeViews
from vlp_jax.objectives.contrastive import ContrastiveObjective, contrastive_targets, positives
from vlp_jax.objectives.momentum import Queue

IMAGE, TEXT = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.6, 0.8]]
ONE = jnp.ones(())


def views(ids, image=IMAGE, text=TEXT, temperature=0.5):
    return FakeViews({"image_id": np.array(ids, np.int32)}, image, text, temperature)


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


def test_positives():
    weights = positives(np.array([5, 6, 5]), np.array([5, 6, 5, -100, 5]))
    third = 1 / 3
    exact = [[third, 0, third, 0, third], [0, 1, 0, 0, 0], [third, 0, third, 0, third]]
    np.testing.assert_allclose(weights, exact, rtol=1e-6)


def test_targets_are_mixed_with_the_teachers_distribution():
    hard = np.array([[1.0, 0], [0, 1]], np.float32)
    logits = np.array([[0.0, 0], [math.log(3), 0]], np.float32)
    mixed = contrastive_targets(hard, logits, 0.4)
    np.testing.assert_allclose(mixed, [[0.8, 0.2], [0.3, 0.7]], rtol=1e-6)
    np.testing.assert_array_equal(contrastive_targets(hard, None, 0.4), hard)


def softmax(row):
    total = sum(math.exp(x) for x in row)
    return [math.exp(x) / total for x in row]


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b))


def by_hand(own, teacher, queue, ids, temperature, alpha, online=False, share=1.0):
    """Computes the loss with loops over plain numbers."""
    all_ids, total = [*ids, *queue[2]], 0.0
    extra = [0.0] * len(ids) + [math.log(share)] * len(queue[2])

    def row(vector, columns):
        return softmax([dot(vector, c) / temperature + e for c, e in zip(columns, extra)])

    for rows, other in ((0, 1), (1, 0)):
        taught = [*teacher[other], *queue[other]]
        columns = [*own[other], *queue[other]] if online else taught
        for i, vector in enumerate(own[rows]):
            same = [found == ids[i] for found in all_ids]
            soft = row(teacher[rows][i], taught)
            targets = [alpha * s + (1 - alpha) * p / sum(same) for s, p in zip(soft, same)]
            total -= sum(t * math.log(c) for t, c in zip(targets, row(vector, columns)))
    return total / len(ids) / 2


@given(
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.floats(0.01, 1),
    st.integers(1, 3),
    st.sampled_from(["teacher", "online"]),
    st.booleans(),
)
def test_with_teacher_and_queue(seed, alpha, ramp, size, in_batch, queue_ramp):
    rng = np.random.default_rng(seed)
    draw = lambda n: rng.normal(size=(n, 3)).astype(np.float32) / 2
    own, taught, stored = (draw(3), draw(3)), (draw(3), draw(3)), (draw(size), draw(size))
    ids = rng.integers(0, 3, 3).astype(np.int32)
    stored_ids = rng.choice([-100, 0, 1, 2], size).astype(np.int32)
    queue = Queue(jnp.asarray(stored[0]), jnp.asarray(stored[1]), jnp.asarray(stored_ids), ONE)
    objective = ContrastiveObjective(alpha=alpha, in_batch=in_batch, queue_ramp=queue_ramp)
    result = objective(views(ids, *own), views(ids, *taught), queue, jnp.float32(ramp))
    share = ramp if queue_ramp else 1.0
    settings = ids, 0.5, alpha * ramp, in_batch == "online", share
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
