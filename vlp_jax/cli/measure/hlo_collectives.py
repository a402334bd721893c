"""What devices tell each other in a compiled program: how often, how many bytes, over which net."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from vlp_jax.cli.measure.hlo import Instruction, Placed, Program, array_bytes

# Of the bytes of the whole (gathered or summed) array, what a device sends where n take part.
_SENT: dict[str, Callable[[int], float]] = {
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "ragged-all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
    "collective-broadcast": lambda n: 1.0,
    "send": lambda n: 1.0,  # to other slices, by way of the hosts
}

_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{} ]*\})\}")
_COUNTED = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_MESH = re.compile(
    r"replica_groups=mesh\[([^\]]*)\]"
    r"(?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}"
)
_CHANNEL = re.compile(r"\bchannel_id=(\d+)")
_SCATTERED = "all-reduce-scatter"  # so TPUs call a sum of which each device keeps its part


@dataclass(frozen=True)
class Traffic:
    """All exchanges of a kind over one net.

    count: how many run in a step. bytes: what one device sends in them, by a ring.
    """

    kind: str
    net: str
    count: int
    bytes: int


def traffic(
    program: Program,
    devices: int,
    slice_of: Callable[[int], int],
    nets: tuple[str, str] = ("ICI", "DCN"),
) -> tuple[Traffic, ...]:
    """Returns the exchanges of a program, the largest first.

    `slice_of` tells in which slice a device of the mesh is. What stays in one goes over the first
    of the `nets`, what leaves it counts for the second as a whole.
    """
    counts: dict[tuple[str, str], int] = defaultdict(int)
    sent: dict[tuple[str, str], float] = defaultdict(float)
    for kind, found in _exchanges(program):
        groups = _groups(found.instruction.rest, devices)
        largest = max(map(len, groups))
        crossing = kind == "send" or any(len({slice_of(d) for d in group}) > 1 for group in groups)
        if largest > 1:
            key = kind, nets[crossing]
            counts[key] += found.runs
            whole = _whole(found.instruction, kind, largest)
            sent[key] += found.runs * whole * _SENT[kind](largest)
    found = [Traffic(*key, counts[key], round(sent[key])) for key in counts]
    return tuple(sorted(found, key=lambda one: -one.bytes))


def _exchanges(program: Program) -> Iterator[tuple[str, Placed]]:
    """Yields kind and place of every exchange.

    One that goes on beside other work stands in several computations, under one channel.
    """
    seen = set()
    for found in program.placed():
        kind = _kind(found)
        channel = _CHANNEL.search(found.instruction.rest)
        key = kind, channel and channel[1]
        if kind is None or (channel and key in seen):
            continue
        seen.add(key)
        yield kind, found


def _kind(found: Placed) -> str | None:
    """Returns the kind of an exchange; the second half of one that is begun early is none."""
    kind = found.instruction.opcode.removesuffix("-start")
    if kind == "send" and "is_host_transfer=true" not in found.instruction.rest:
        return None
    if found.computation.startswith(_SCATTERED) and kind == "all-reduce":
        return "reduce-scatter"
    return kind if kind in _SENT else None


def _whole(instruction: Instruction, kind: str, size: int) -> int:
    """Returns the bytes of the array that all take part in."""
    arrays = [array_bytes(part) for part in _parts(instruction.shape)]
    if instruction.opcode.endswith("-start") and kind != "all-reduce" and len(arrays) > 1:
        arrays = arrays[1:2]  # what went in, what comes out, and marks of the transfer
    if kind == "send":
        arrays = arrays[:1]
    scattered = kind == "reduce-scatter" and instruction.opcode.startswith(kind)
    return sum(arrays) * (size if scattered else 1)


def _parts(shape: str) -> Iterator[str]:
    """Yields the arrays, or groups of arrays in brackets, of the text of a tuple."""
    depth, part = 0, ""
    for letter in shape:
        depth += letter in "([{"
        depth -= letter in ")]}"
        if letter == "," and not depth:
            yield part
            part = ""
        else:
            part += letter
    yield part


def _groups(text: str, devices: int) -> list[list[int]]:
    """Returns which devices exchange with each other, by their places in the mesh."""
    if found := _COUNTED.search(text):
        shape, dims, order = map(_numbers, found.groups())
        return _iota(dims, order).reshape(shape).tolist()
    if found := _MESH.search(text):
        return _along(*found.groups())
    if found := _LISTED.search(text):
        listed = re.findall(r"\{([\d, ]*)\}", found[1])
        groups = [_numbers(group) for group in listed if group.strip()]
        if groups:
            return groups
    return [list(range(devices))]


def _along(axes: str, dims: str | None, order: str | None, named: str) -> list[list[int]]:
    """Returns the groups that differ in the named axes alone."""
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", axes)}
    chosen = [list(sizes).index(name) for name in re.findall(r"'(\w+)'", named)]
    numbers = _iota(_numbers(dims) or list(sizes.values()), _numbers(order))
    numbers = numbers.reshape(list(sizes.values()))
    apart = np.moveaxis(numbers, chosen, range(-len(chosen), 0))
    return apart.reshape(-1, prod(numbers.shape[axis] for axis in chosen)).tolist()


def _iota(dims: list[int], order: list[int] | None) -> np.ndarray:
    numbers = np.arange(prod(dims)).reshape(dims)
    return numbers if order is None else np.transpose(numbers, order)


def _numbers(text: str | None) -> list[int] | None:
    return [int(number) for number in text.split(",")] if text else None
