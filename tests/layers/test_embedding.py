"""Tests of look-up tables and of the row that look-ups do not train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.layers.embedding import Embedding

IDS = np.array([[0, 3], [3, 1]], np.int32)


@pytest.fixture
def table():
    return np.random.default_rng().normal(size=(4, 5)).astype(np.float32)


def look_up(table, frozen):
    return Embedding(4, 5, frozen_first_row=frozen).apply({"params": {"table": table}}, IDS)


@pytest.mark.parametrize("frozen", [False, True])
def test_ids_become_rows(table, frozen):
    np.testing.assert_array_equal(look_up(table, frozen), table[IDS])


@pytest.mark.parametrize(("frozen", "rows"), [(False, [1, 1, 0, 2]), (True, [0, 1, 0, 2])])
def test_the_gradient_counts_the_look_ups_of_a_row(table, frozen, rows):
    gradient = jax.grad(lambda table: look_up(table, frozen).sum())(table)
    np.testing.assert_array_equal(gradient, np.repeat(np.array(rows)[:, None], 5, axis=1))


def test_a_tied_output_still_trains_the_first_row(table):
    def tied(module):
        states = module(jnp.asarray(IDS))
        return (states @ module.table.T).sum()

    module = Embedding(4, 5, frozen_first_row=True)
    gradient = jax.grad(lambda t: module.apply({"params": {"table": t}}, method=tied))(table)
    # Every row is read once as output by each of the four states.
    np.testing.assert_allclose(gradient[0], table[IDS].sum((0, 1)), rtol=1e-5)
    assert np.abs(gradient[3] - 2 * table.sum(0) - gradient[0]).max() < 1e-4


def test_the_table_is_named_by_its_axes():
    init = lambda: Embedding(4, 5, axes=("length", "embed")).init(jax.random.key(0), IDS)
    box = jax.eval_shape(init)["params"]["table"]
    assert box.names == ("length", "embed") and box.value.shape == (4, 5)
