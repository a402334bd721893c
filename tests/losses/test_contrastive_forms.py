"""Tests of both forms: targets by hand, and blocks that say what the whole matrix says."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.losses.similarity import random_columns, random_rows
from vlp_jax.losses.contrastive_forms import SigmoidForm, SoftmaxForm
from vlp_jax.losses.similarity_blocks import Block, Scale, compare

FORMS = {"softmax": SoftmaxForm(), "smoothed": SoftmaxForm(0.2), "sigmoid": SigmoidForm()}
SCALE = Scale(jnp.float32(0.3), jnp.float32(-0.5))


def test_positives_divide_the_target_by_their_share():
    same = np.array([5, 6, 5])[:, None] == np.array([5, 6, 5, -100, 5])[None]
    block = Block(jnp.zeros((3, 5)), None, same, jnp.array([1.0, 1.0, 1.0, 0.5, 0.5]))
    fives = [0.4, 0, 0.4, 0, 0.2]
    exact = [fives, [0, 1, 0, 0, 0], fives]
    np.testing.assert_allclose(SoftmaxForm().targets(block, 0.0), exact, rtol=1e-6)


def test_targets_are_mixed_with_the_teachers_distribution():
    taught = np.array([[0.0, 0], [math.log(3), 0]], np.float32)
    block = Block(jnp.zeros((2, 2)), taught, np.eye(2, dtype=bool), jnp.ones(2))
    mixed = SoftmaxForm().targets(block, 0.4)
    np.testing.assert_allclose(mixed, [[0.8, 0.2], [0.3, 0.7]], rtol=1e-6)
    alone = SoftmaxForm().targets(block.replace(taught=None), 0.4)
    np.testing.assert_array_equal(alone, np.eye(2))


def test_smoothing_goes_to_all_columns_by_their_share():
    share = jnp.array([1.0, 1.0, 0.5])
    same = np.array([[True, False, False]])
    block = Block(jnp.zeros((1, 3)), None, same, share)
    targets = SoftmaxForm(0.1).targets(block, 0.0)
    np.testing.assert_allclose(targets, [[0.94, 0.04, 0.02]], rtol=1e-6)


def test_a_column_that_counts_a_half_is_half_a_column():
    # One positive of logit 0, one negative of logit 0 that counts for 1/2: -log(1 / 1.5).
    block = Block(jnp.zeros((1, 2)), None, np.array([[True, False]]), jnp.array([1.0, 0.5]))
    assert SoftmaxForm().whole(block, 0.0)[0] == pytest.approx(math.log(1.5), rel=1e-6)
    assert SigmoidForm().whole(block, 0.0)[0] == pytest.approx(1.5 * math.log(2), rel=1e-6)


def parts_of(columns, cuts):
    """Returns the columns cut into pieces."""
    edges = [0, *sorted(set(cuts) - {0, len(columns.ids)}), len(columns.ids)]
    return [jax.tree.map(lambda x, a=a, b=b: x[a:b], columns) for a, b in zip(edges, edges[1:])]


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
@settings(max_examples=8)
@given(
    seed=st.integers(0, 2**32 - 1),
    taught=st.booleans(),
    alpha=st.floats(0, 1),
    cuts=st.lists(st.integers(1, 8), max_size=3),
)
def test_blocks_say_what_the_whole_says(name, seed, taught, alpha, cuts):
    form, rng = FORMS[name], np.random.default_rng(seed)
    rows, columns = random_rows(rng, 3, taught), random_columns(rng, 9, 3, taught)

    def whole(vectors, others, scale):
        block = compare(rows.replace(vectors=vectors), columns.replace(vectors=others), scale)
        losses = form.whole(block, alpha)
        return losses.sum(), losses

    (_, exact), exact_slopes = jax.value_and_grad(whole, (0, 1, 2), has_aux=True)(
        rows.vectors, columns.vectors, SCALE
    )
    parts, state = parts_of(columns, cuts), form.start(3)
    for part in parts:
        state = form.add(state, compare(rows, part, SCALE), alpha)
    np.testing.assert_allclose(form.losses(state, alpha), exact, rtol=2e-5)

    def surrogate(vectors, others, scale, part):
        block = compare(rows.replace(vectors=vectors), part.replace(vectors=others), scale)
        return form.surrogate(state, block, alpha)

    slopes = [
        jax.grad(surrogate, (0, 1, 2))(rows.vectors, part.vectors, SCALE, part) for part in parts
    ]
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.abs(b).max()))
    close(sum(s[0] for s in slopes), exact_slopes[0])
    close(np.concatenate([s[1] for s in slopes]), exact_slopes[1])
    jax.tree.map(close, jax.tree.map(lambda *x: sum(x), *(s[2] for s in slopes)), exact_slopes[2])
