"""Tests of the ring: who meets whom, who comes home, and where there is no ring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.parallel import make_mesh, use_mesh
from vlp_jax.parallel.ring import go_round, on_each_part, ring_axes, ring_size

SIZE = 16


@pytest.fixture(params=[(8, 1, 1), (2, 2, 2), (1, 4, 2)], ids=str)
def mesh(request, devices8):
    with use_mesh(make_mesh(*request.param, devices=devices8)) as mesh:
        yield mesh


def test_the_ring_goes_over_the_axes_that_split_a_batch(devices8):
    for shape, axes, size in [
        ((8, 1, 1), ("data",), 8),
        ((2, 2, 2), ("data", "fsdp"), 4),
        ((1, 1, 8), (), 1),
    ]:
        with use_mesh(make_mesh(*shape, devices=devices8)):
            assert ring_axes(SIZE) == axes and ring_size(axes) == size


def test_no_ring_outside_of_a_mesh_or_for_rows_that_do_not_divide(devices8):
    assert ring_axes(SIZE) == () and ring_size(()) == 1
    with use_mesh(make_mesh(devices=devices8)):
        assert ring_axes(12) == ()


def meet(seen, visitor):
    """Notes the rows of a visitor, and leaves a mark of one at each of them."""
    rows, marks = visitor
    return (jnp.roll(seen, 1).at[0].set(rows.sum()), (rows, marks + 1))


def tour(axes, rows):
    """Returns what each part saw, newest first, the visitors at home, and a total."""
    count = ring_size(axes)

    def part(split, whole):
        seen = jnp.zeros(count)
        seen, (rows, marks) = go_round(meet, seen, (split, jnp.zeros_like(split)), axes)
        return (seen[None], rows, marks), split.sum() * whole

    return on_each_part(part, rows, jnp.float32(2), axes)


def test_every_part_meets_every_visitor_once_and_its_own_first(mesh):
    rows = np.random.default_rng().permutation(100)[:SIZE].astype(np.float32)
    axes = ring_axes(SIZE)
    count = ring_size(axes)
    (seen, at_home, marks), total = jax.jit(lambda x: tour(axes, x))(rows)
    parts = rows.reshape(count, -1).sum(-1)
    assert seen.shape == (count, count)
    np.testing.assert_array_equal(seen[:, -1], parts)
    np.testing.assert_array_equal(np.sort(seen, -1), np.tile(np.sort(parts), (count, 1)))
    np.testing.assert_array_equal(at_home, rows)
    np.testing.assert_array_equal(marks, count)
    assert total == 2 * rows.sum()


def test_without_axes_there_is_one_part_that_meets_itself():
    rows = np.arange(SIZE, dtype=np.float32)
    (seen, at_home, marks), total = tour((), rows)
    np.testing.assert_array_equal(seen, [[rows.sum()]])
    np.testing.assert_array_equal(at_home, rows)
    np.testing.assert_array_equal(marks, 1)
    assert total == 2 * rows.sum()
