"""Tests of the position grid resize against PyTorch's numbers and a slow reference."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.weights.interpolation import resize_position_grid

# One embedding dimension of a 4x4 grid behind a class token, and what PyTorch 2's
# interpolate(mode="bicubic", align_corners=False) makes of it.
OLD = [0.02526499, -0.4933472, 0.52972424, 0.5339654, -0.0325431, -0.5513735, 0.2859758, 0.33017206]
OLD += [-0.2225344, 0.08564769, -0.17225504, 0.13703951, -0.08247513, 0.1398333, 0.24932198]
OLD += [0.10106128, 0.04494575]
TORCH_3 = [0.02526499, -0.36709467, 0.6540474, 0.01970184, -0.21312247, 0.1659925, -0.12095714]
TORCH_3 += [0.14988722, 0.15232313, 0.03832513]
TORCH_6_FIRST_ROWS = [0.025264993, -0.57851815, 0.031213922, 0.6510576, 0.6188665, 0.2678750]
TORCH_6_FIRST_ROWS += [-0.065330781, -0.67174184, -0.065576501, 0.55063629, 0.51948649, 0.15469335]
TORCH_6_FIRST_ROWS += [-0.19195777]


def column(values):
    return np.array(values, np.float32)[:, None]


def slow_resize(grid: list[list[float]], new: int) -> list[list[float]]:
    """Resizes one channel point by point, as the definition of bicubic convolution reads."""
    old = len(grid)

    def weight(t: float) -> float:
        t = abs(t)
        if t <= 1:
            return 1.25 * t**3 - 2.25 * t**2 + 1
        return -0.75 * t**3 + 3.75 * t**2 - 6 * t + 3 if t < 2 else 0.0

    def sample(y: float, x: float) -> float:
        total = 0.0
        for i in range(math.floor(y) - 1, math.floor(y) + 3):
            for j in range(math.floor(x) - 1, math.floor(x) + 3):
                value = grid[min(max(i, 0), old - 1)][min(max(j, 0), old - 1)]
                total += weight(y - i) * weight(x - j) * value
        return total

    centre = [(k + 0.5) * old / new - 0.5 for k in range(new)]
    return [[sample(y, x) for x in centre] for y in centre]


def test_shrinking_gives_the_numbers_of_torch():
    resized = resize_position_grid(column(OLD), 4, 3)
    np.testing.assert_allclose(resized, column(TORCH_3), atol=1e-6)


def test_growing_gives_the_numbers_of_torch():
    resized = resize_position_grid(column(OLD), 4, 6)
    assert resized.shape == (37, 1)
    np.testing.assert_allclose(resized[:13], column(TORCH_6_FIRST_ROWS), atol=1e-6)


@given(st.integers(1, 7), st.integers(1, 9), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_equals_the_slow_reference(old, new, prefix, seed):
    table = np.random.default_rng(seed).normal(size=(prefix + old * old, 2))
    resized = resize_position_grid(table, old, new, prefix_tokens=prefix)
    np.testing.assert_array_equal(resized[:prefix], table[:prefix])
    for channel in range(2):
        grid = table[prefix:, channel].reshape(old, old).tolist()
        expected = np.array(slow_resize(grid, new)).reshape(-1)
        np.testing.assert_allclose(resized[prefix:, channel], expected, atol=1e-12)


def test_a_constant_grid_stays_constant():
    resized = resize_position_grid(np.full((26, 3), 0.7, np.float32), 5, 8)
    np.testing.assert_allclose(resized, 0.7, rtol=1e-6)


def test_rows_and_columns_keep_their_roles():
    grid = np.broadcast_to(np.arange(4.0)[:, None], (4, 4)).reshape(16, 1)
    resized = resize_position_grid(grid, 4, 8, prefix_tokens=0).reshape(8, 8)
    assert np.allclose(resized, resized[:, :1]) and np.all(np.diff(resized[:, 0]) > 0)


def test_equal_grids_give_a_copy():
    table = np.random.default_rng().normal(size=(10, 2)).astype(np.float32)
    resized = resize_position_grid(table, 3, 3)
    np.testing.assert_array_equal(resized, table)
    assert not np.shares_memory(resized, table)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_type_is_kept(dtype):
    assert resize_position_grid(np.ones((10, 2), dtype), 3, 5).dtype == dtype


@pytest.mark.parametrize(
    ("shape", "sizes", "message"),
    [
        ((17, 2), (5, 6, 1), r"shape \(17, 2\): expected \[26, D\]"),
        ((17, 2), (4, 6, 0), r"expected \[16, D\] for 0 prefix tokens"),
        ((1, 17, 2), (4, 6, 1), r"shape \(1, 17, 2\): expected \[17, D\]"),
        ((17, 2), (4, 0, 1), "new_grid=0"),
        ((15, 2), (4, 6, -1), "prefix_tokens=-1"),
    ],
)
def test_bad_input(shape, sizes, message):
    with pytest.raises(ValueError, match=message):
        resize_position_grid(np.zeros(shape), *sizes)
