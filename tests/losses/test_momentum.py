"""Tests of the feature queues against a list, and of the teacher against its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp_jax.losses.momentum import Queue, to_bfloat16_at_random, update_teacher


def rows(first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns images, texts and ids that tell where they come from."""
    ids = np.arange(first, first + count, dtype=np.int32)
    image = np.stack([ids, ids + 0.25], 1).astype(np.float32)
    return image, image + 0.5, ids


@pytest.mark.slow
@settings(max_examples=15)
@given(st.integers(1, 5), st.lists(st.integers(1, 8), min_size=1, max_size=4))
def test_a_queue_is_a_ring(size, batches):
    queue = Queue.create(jax.random.key(0), size, 2)
    ring = list(zip(np.asarray(queue.image), np.asarray(queue.text), np.asarray(queue.ids)))
    seen = 0
    for count in batches:
        image, text, ids = rows(seen, count)
        queue = queue.push(image, text, ids)
        for row in zip(image, text, ids):
            ring[seen % size] = row
            seen += 1
    for found, expected in zip((queue.image, queue.text, queue.ids), zip(*ring)):
        np.testing.assert_array_equal(found, np.stack(expected))
    assert queue.pointer == seen % size


def test_it_starts_with_unit_vectors_of_no_image():
    queue = Queue.create(jax.random.key(0), 7, 16)
    assert queue.image.shape == queue.text.shape == (7, 16)
    np.testing.assert_allclose(np.linalg.norm(queue.image, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(queue.text, axis=1), 1, rtol=1e-5)
    assert np.abs(queue.image - queue.text).max() > 0.1
    assert queue.ids.tolist() == [-100] * 7 and queue.pointer == 0


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.995, 1.0])
def test_the_teacher_after_n_updates(momentum):
    rng = np.random.default_rng()
    tree = lambda: {
        "a": rng.normal(size=3).astype(np.float32),
        "b": {"c": np.float32(rng.normal())},
    }
    start, params = tree(), tree()
    teacher = start
    for _ in range(10):
        teacher = update_teacher(teacher, params, momentum)
    kept = momentum**10
    exact = jax.tree.map(lambda t, p: kept * t + (1 - kept) * p, start, params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), teacher, exact)


def test_the_teacher_keeps_its_precision():
    teacher = update_teacher({"a": jnp.ones(2)}, {"a": jnp.zeros(2)}, 0.995)
    assert teacher["a"].dtype == jnp.float32


def test_rounding_at_random_gives_a_neighbour_and_is_right_in_the_mean():
    exact = np.float32([1.0, 1 + 1 / 512, -1 - 1 / 256, 3e-5, -7e20, 0.0, 1e-39])
    drawn = to_bfloat16_at_random(jax.random.key(0), jnp.tile(exact, (20_000, 1)))
    assert drawn.dtype == jnp.bfloat16
    drawn = np.asarray(drawn, np.float64)
    unit = np.maximum(np.abs(exact) / 128, 1e-40)
    assert (np.abs(drawn - exact) <= unit).all()
    assert all(len(np.unique(column)) <= 2 for column in drawn.T)
    np.testing.assert_array_less(np.abs(drawn.mean(0) - exact), unit * 0.02)
    np.testing.assert_array_equal(drawn[:, [0, 5]], np.tile(exact[[0, 5]], (20_000, 1)))


def test_a_teacher_in_bfloat16_moves_by_less_than_its_last_place():
    key, momentum, steps = jax.random.key(0), 0.995, 200
    teacher, params = jnp.ones(10_000, jnp.bfloat16), jnp.full(10_000, 1.1)
    for step in range(steps):
        teacher = update_teacher(teacher, params, momentum, jax.random.fold_in(key, step))
    assert teacher.dtype == jnp.bfloat16
    exact = 1.1 - 0.1 * momentum**steps
    assert abs(float(teacher.astype(jnp.float32).mean()) - exact) < 1e-3
    assert jnp.abs(teacher.astype(jnp.float32) - exact).max() < 0.08
