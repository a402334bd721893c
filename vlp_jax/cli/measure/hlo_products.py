"""Operations of the products in a compiled program, each as often as it runs."""

import re
from collections.abc import Mapping
from math import prod

import numpy as np

from vlp_jax.cli.measure.hlo import Instruction, Program

_CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_LABELS = re.compile(r"dim_labels=(\w+)_(\w+)->(\w+)")
_CALLED = re.compile(r'custom_call_target="__(cublas|cudnn\$fmha|cudnn\$conv)([^"]*)"')
_CUBLAS_CONTRACTED = re.compile(r'"lhs_contracting_dimensions":\[([\d,"]*)\]')
_GROUPED = re.compile(r"(?:feature|batch)_group_count=(\d+)")


def product_flops(program: Program) -> int:
    """Returns the FLOPs (2 for a multiplication with its addition) of one device's products.

    Of matrix products and convolutions, also those that the backward pass computes again. A loop
    counts as often as it runs, which XLA's own figure does not. On GPUs cuBLAS and cuDNN compute
    most of them; attention counts at the lengths that cuDNN gets.
    """
    total = 0
    for found in program.placed():
        if found.instruction.opcode == "dot":
            total += found.runs * _dot(found.instruction, found.here)
        elif found.instruction.opcode == "convolution":
            total += found.runs * _convolution(found.instruction, found.here)
        elif called := _CALLED.search(found.instruction.rest):
            library, which = called.groups()
            total += found.runs * _BY_LIBRARIES[library](found.instruction, found.here, which)
    return total


def _dot(
    instruction: Instruction,
    here: Mapping[str, Instruction],
    contracted: re.Pattern = _CONTRACTED,
) -> int:
    left, found = here[instruction.operands[0]].dims, contracted.search(instruction.rest)
    dims = [int(n) for n in found[1].replace('"', "").split(",") if n] if found else []
    return 2 * prod(instruction.dims) * prod(left[n] for n in dims)


def _by_cublas(instruction: Instruction, here: Mapping[str, Instruction], which: str) -> int:
    return _dot(instruction, here, _CUBLAS_CONTRACTED)


def _attention(instruction: Instruction, here: Mapping[str, Instruction], which: str) -> int:
    """Counts what cuDNN multiplies: two products, and five for the gradient, one of them anew."""
    query, key = (here[name].dims for name in instruction.operands[:2])  # [B, T, H, K]
    return (5 if which.endswith("Backward") else 2) * 2 * prod(query) * key[1]


def _by_cudnn(instruction: Instruction, here: Mapping[str, Instruction], which: str) -> int:
    """Counts a convolution or a gradient of it, which has the forward one's labels and window."""
    first, second, made = *(here[name].dims for name in instruction.operands[:2]), instruction.dims
    shapes = {
        "BackwardInput": (made, second, first),
        "BackwardFilter": (first, made, second),
    }.get(which, (first, second, made))
    return _convolved(instruction, *shapes)


_BY_LIBRARIES = {"cublas": _by_cublas, "cudnn$fmha": _attention, "cudnn$conv": _by_cudnn}


def _convolution(instruction: Instruction, here: Mapping[str, Instruction]) -> int:
    image, kernel = (here[name].dims for name in instruction.operands[:2])
    return _convolved(instruction, image, kernel, instruction.dims)


def _convolved(instruction: Instruction, *shapes: tuple[int, ...]) -> int:
    """Counts products with values only, none with padding or with gaps between values.

    `shapes` are those of image, kernel and result.
    """
    labels = _LABELS.search(instruction.rest)
    image, kernel, out = (dict(zip(names, dims)) for names, dims in zip(labels.groups(), shapes))
    met = 1
    for axis in (name for name in out if name.isdigit()):
        window = _window(instruction.rest, int(axis), kernel[axis])
        met *= _met(image[axis], out[axis], **window)
    grouped = _GROUPED.search(instruction.rest)
    shared = int(grouped[1]) if grouped and "batch_group" in grouped[0] else 1
    return 2 * out["b"] * out["f"] * kernel["i"] * met // shared


def _window(text: str, axis: int, size: int) -> dict[str, int]:
    """Returns how the kernel moves along a spatial axis."""
    found = re.search(r"window=\{([^}]*)\}", text)
    entries = dict(part.split("=") for part in found[1].split()) if found else {}
    at = lambda name, usual: int(entries[name].split("x")[axis]) if name in entries else usual
    low = int(entries["pad"].split("x")[axis].split("_")[0]) if "pad" in entries else 0
    return {
        "size": size,
        "stride": at("stride", 1),
        "low": low,
        "spread": at("lhs_dilate", 1),
        "reach": at("rhs_dilate", 1),
    }


def _met(values: int, out: int, size: int, stride: int, low: int, spread: int, reach: int) -> int:
    """Returns how many pairs of an output and a place of the kernel meet a value."""
    places = np.arange(out)[:, None] * stride + np.arange(size) * reach - low
    inside = (places >= 0) & (places <= (values - 1) * spread) & (places % spread == 0)
    return int(inside.sum())
