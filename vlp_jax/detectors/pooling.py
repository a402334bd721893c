"""Cuts regions of any size out of a feature map at one resolution: by maximum or by alignment.

Both leave out what lies beyond `extent`, the rows and columns that are the picture's own, so that
padding to the right and below changes nothing.
"""

from functools import partial, reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

# Regions that are aligned at once; each is a map of half the resolution on the way.
REGIONS_AT_ONCE = 16


@partial(jax.jit, static_argnames=("bins", "scale"))
def pool_regions(
    grid: Float[Array, "h w c"],
    boxes: Float[Array, "n 4"],
    extent: Int[Array, "2"],
    bins: int,
    scale: float,
) -> Float[Array, "n bins bins c"]:
    """Returns the maximum in each of bins × bins parts of each box; 0 in a part without a cell.

    Boxes are in pixels, `scale` is cells a pixel. Ends are rounded, halves away from zero, and both
    belong to the box. Source: Fast R-CNN (Girshick 2015), section 2.1, in Caffe's form.
    """
    rows = _bin_ends(boxes[:, 1::2] * scale, bins, extent[0])
    columns = _bin_ends(boxes[:, 0::2] * scale, bins, extent[1])
    return _range_maximum(grid, *rows, *columns)


def _bin_ends(
    ends: Float[Array, "n 2"], bins: int, extent: Int[Array, ""]
) -> tuple[Int[Array, "n bins"], Int[Array, "n bins"]]:
    """Returns the first cell of each bin and the first one after it."""
    first, last = _round(ends).T
    size = _divide(jnp.maximum(last - first + 1, 1), bins)[:, None]
    number = jnp.arange(bins)
    begin, end = jnp.floor(number * size), jnp.ceil((number + 1) * size)
    within = lambda x: jnp.clip(x + first[:, None], 0, extent).astype(jnp.int32)
    return within(begin), within(end)


def _round(x: Array) -> Array:
    """To the nearest whole number, halves away from zero as in C; NumPy's go to the even one."""
    whole = jnp.trunc(x)
    return whole + jnp.sign(x) * (jnp.abs(x - whole) >= 0.5)


def _divide(sizes: Float[Array, "*n"], bins: int) -> Float[Array, "*n"]:
    """Divides sizes, all above 0, as C does: XLA multiplies by the inverse of what it knows.

    That would move the ends of bins: a divisor chosen by the sizes is nothing it knows.
    """
    return sizes / jnp.where(sizes > 0, float(bins), 1.0)


def _range_maximum(grid: Array, top: Array, bottom: Array, left: Array, right: Array) -> Array:
    """Returns the maximum over each [top, bottom) × [left, right), 0 where that is empty.

    The maxima of all squares of cells whose sides are powers of two are made once; two of them,
    which may overlap, cover any range.
    """
    table = _power_maxima(_power_maxima(grid, 0), 2)
    level_y, starts_y = _cover(top, bottom)
    level_x, starts_x = _cover(left, right)
    corners = [
        table[level_x[:, None, :], level_y[:, :, None], y[:, :, None], x[:, None, :]]
        for y in starts_y
        for x in starts_x
    ]
    most = reduce(jnp.maximum, corners)
    empty = (bottom <= top)[:, :, None] | (right <= left)[:, None, :]
    return jnp.where(empty[..., None], 0.0, most)


def _power_maxima(table: Array, axis: int) -> Array:
    """Returns [levels, …]: in level k, the maximum of 2^k entries along the axis from each one on.

    Entries whose range leaves the array are never asked for.
    """
    levels = [table]
    while 2 ** len(levels) <= table.shape[axis]:
        last = levels[-1]
        levels.append(jnp.maximum(last, jnp.roll(last, -(2 ** (len(levels) - 1)), axis)))
    return jnp.stack(levels)


def _cover(begin: Array, end: Array) -> tuple[Array, tuple[Array, Array]]:
    """Returns the largest power of two in each length, and where its two copies begin."""
    length = jnp.maximum(end - begin, 1)
    level = 31 - jax.lax.clz(length)
    return level, (begin, jnp.maximum(end - (1 << level), begin))


@partial(jax.jit, static_argnames=("bins", "scale"))
def align_regions(
    grid: Float[Array, "h w c"],
    boxes: Float[Array, "n 4"],
    extent: Int[Array, "2"],
    bins: int,
    scale: float,
) -> Float[Array, "n bins bins c"]:
    """Returns the mean of evenly spread samples in each of bins × bins parts of each box.

    A part has one sample for each cell of its height and width, rounded up, read by interpolation
    between the middles of cells; ends are not moved by half a cell ("unaligned"). Boxes are at
    least one cell wide. Source: Mask R-CNN (He et al. 2017), section 3, in the form of Caffe2 and
    torchvision with `sampling_ratio=0, aligned=False`.
    """
    rows = _sample_weights(boxes[:, 1::2] * scale, bins, extent[0], grid.shape[0])
    columns = _sample_weights(boxes[:, 0::2] * scale, bins, extent[1], grid.shape[1])
    highest = jax.lax.Precision.HIGHEST
    read = lambda w: jnp.einsum("ph,qw,hwc->pqc", *w, grid, precision=highest)
    return jax.lax.map(read, (rows, columns), batch_size=REGIONS_AT_ONCE)


def _sample_weights(
    ends: Float[Array, "n 2"], bins: int, extent: Int[Array, ""], length: int
) -> Float[Array, "n bins length"]:
    """Returns how much each row (or column) of the map counts in each bin.

    What a bin reads is a product of rows and columns, because its samples lie on a grid.
    """
    first, last = ends.T
    side = jnp.maximum(last - first, 1.0)
    part = _divide(side, bins)
    samples = jnp.ceil(part)
    begin = first[:, None] + jnp.arange(bins) * part[:, None]

    def add(number: Array, weights: Array) -> Array:
        place = begin + (number + 0.5) * (part / samples)[:, None]
        counts = (number < samples)[:, None] & (place >= -1) & (place <= extent)
        return weights + jnp.where(counts[..., None], _hat(place, extent, length), 0.0)

    most = jnp.max(samples).astype(jnp.int32)
    zeros = jnp.zeros((*begin.shape, length), ends.dtype)
    return jax.lax.fori_loop(0, most, add, zeros) / samples[:, None, None]


def _hat(place: Float[Array, "*n"], extent: Int[Array, ""], length: int) -> Float[Array, "*n l"]:
    """Returns the weights of linear interpolation at places, which are moved into the map."""
    place = jnp.clip(place, 0, extent - 1)
    return jnp.maximum(0.0, 1.0 - jnp.abs(place[..., None] - jnp.arange(length)))
