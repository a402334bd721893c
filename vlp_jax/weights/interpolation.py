"""Resizes a learned grid of position embeddings, as PyTorch does, when a checkpoint is loaded."""

import numpy as np
from jaxtyping import Float

# PyTorch's bicubic kernel. `jax.image.resize` uses -0.5 and renormalises at the edges, which moves
# the embeddings of a random 16x16 grid by up to 0.33.
_A = -0.75


def resize_position_grid(
    table: Float[np.ndarray, "old d"], old_grid: int, new_grid: int, prefix_tokens: int = 1
) -> Float[np.ndarray, "new d"]:
    """Resizes the square grid in a position table bicubically and keeps the tokens before it.

    Same as `torch.nn.functional.interpolate(mode="bicubic", align_corners=False)` without
    antialiasing; ALBEF (Li et al. 2021) loads its 256-pixel checkpoint at 384 pixels this way.

    Args:
      table: [prefix_tokens + old_grid**2, D], the grid in row-major order.
      old_grid: side of the grid in `table`.
      new_grid: side of the grid wanted.
      prefix_tokens: rows before the grid, such as the one of the class token.

    Returns:
      [prefix_tokens + new_grid**2, D] in the dtype of `table`.

    Raises:
      ValueError: if a size is invalid or the table does not have that many rows.
    """
    table = np.asarray(table)
    _check(table, old_grid, new_grid, prefix_tokens)
    prefix, grid = table[:prefix_tokens], table[prefix_tokens:]
    if old_grid == new_grid:
        return table.copy()
    weights = _resize_matrix(old_grid, new_grid)
    grid = grid.astype(np.float64).reshape(old_grid, old_grid, -1)
    resized = np.einsum("yi,xj,ijd->yxd", weights, weights, grid, optimize=True)
    resized = resized.reshape(new_grid**2, -1).astype(table.dtype)
    return np.concatenate([prefix, resized])


def _check(table: np.ndarray, old_grid: int, new_grid: int, prefix_tokens: int) -> None:
    if old_grid < 1 or new_grid < 1 or prefix_tokens < 0:
        raise ValueError(
            f"old_grid={old_grid}, new_grid={new_grid}, prefix_tokens={prefix_tokens}: "
            "expected grids of at least 1 and at least 0 prefix tokens"
        )
    rows = prefix_tokens + old_grid**2
    if table.ndim != 2 or table.shape[0] != rows:
        raise ValueError(
            f"position table of shape {table.shape}: expected [{rows}, D] for {prefix_tokens} "
            f"prefix tokens and a {old_grid}x{old_grid} grid"
        )


def _resize_matrix(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """Returns the weight of each old point in each new one, along one side of the grid."""
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    first = np.floor(centres).astype(int) - 1
    matrix = np.zeros((new, old))
    for tap in range(4):
        points = first + tap
        np.add.at(
            matrix, (np.arange(new), points.clip(0, old - 1)), _cubic(np.abs(centres - points))
        )
    return matrix


def _cubic(distance: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Returns the cubic convolution kernel (Keys 1981, equation 4) with a = -0.75."""
    near = (_A + 2) * distance**3 - (_A + 3) * distance**2 + 1
    far = _A * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
