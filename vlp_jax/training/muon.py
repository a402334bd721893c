"""Muon for the weight matrices of encoders and fusion, Adam for everything else."""

import math
from functools import partial
from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from vlp_jax.layers.layer_names import is_stacked


def scale_by_muon_or_adam(
    params: Any,
    momentum: float,
    rms: float,
    adam: optax.GradientTransformation,
    dtype: str = "float32",
) -> optax.GradientTransformation:
    """Returns the transformation that orthogonalises the momentum of matrices (Jordan et al. 2024).

    Matrices are the kernels outside of heads, seen as inputs × outputs: those of attention join
    their head dimensions, those of convolutions their receptive field. Embedding tables, heads,
    biases and scales go through `adam`. Stacked layers are so many matrices. `params` may be
    shapes.

    `rms` is the root mean square of a matrix's update, before the learning rate: 0.2 is that of
    Adam's usual ones, so that one learning rate serves both (Liu et al. 2025, "Muon is scalable for
    LLM training", equation 4); short runs learn faster with more. `dtype` is that of the
    momentum between steps.
    """
    axes = jax.tree_util.tree_map_with_path(_matrix_axes, params)
    labels = jax.tree.map(lambda a: "adam" if a is None else "muon", axes, is_leaf=_is_axes)
    chosen = lambda updates: jax.tree.map(
        lambda x, a: x if _is_masked(x) else a, updates, axes, is_leaf=_is_masked
    )
    to_adam_size = optax.stateless(
        lambda updates, _: jax.tree.map(
            partial(_rescaled, rms=rms),
            updates,
            chosen(updates),
            is_leaf=lambda x: _is_axes(x) or _is_masked(x),
        )
    )
    orthogonal = scale_by_muon(beta=momentum, mu_dtype=dtype, weight_dimension_numbers=chosen)
    muon = optax.chain(orthogonal, to_adam_size)
    return optax.partition({"adam": adam, "muon": muon}, labels)


def _matrix_axes(path: tuple, x: Any) -> MuonDimensionNumbers | None:
    """Returns which axes of a parameter are inputs and outputs; None if it is no hidden matrix."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    first, names = int(is_stacked(name)), name.split("/")  # first: after the axis of layers
    rank = len(x.shape) - first
    if names[-1] != "kernel" or names[0].startswith("heads_") or rank < 2:
        return None
    splits_heads = rank == 3 and names[-2] != "output"  # [D, H, K], not [H, K, D]
    inputs = first + (1 if splits_heads else rank - 1)
    return MuonDimensionNumbers(tuple(range(first, inputs)), tuple(range(inputs, first + rank)))


def _rescaled(update: Any, axes: Any, rms: float) -> Any:
    if _is_masked(update):
        return update
    pair = axes.reduction_axis, axes.output_axis
    sides = [math.prod(update.shape[i] for i in side) for side in pair]
    return update * (rms * math.sqrt(max(sides)))


def _is_axes(x: Any) -> bool:
    return x is None or isinstance(x, MuonDimensionNumbers)


def _is_masked(x: Any) -> bool:
    return isinstance(x, optax.MaskedNode)
