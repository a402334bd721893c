"""What devices tell each other in a compiled program: how often, how many bytes, over which net."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vlp_jax.measure.hlo import Instruction, Program, array_bytes

# Of the bytes of the whole (gathered or summed) array, what a device sends where n take part.
_SENT: dict[str, Callable[[int], float]] = {
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: (n - 1) / n,
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "ragged-all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0,
    "collective-broadcast": lambda n: 1.0,
}
KINDS = tuple(_SENT)

_LISTED = re.compile(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{} ]*\})\}")
_COUNTED = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_HOSTS = ("send", "recv")  # between slices libtpu sends and receives by way of the hosts


@dataclass(frozen=True)
class Traffic:
    """All exchanges of a kind over one net.

    count: how many run in a step. bytes: what one device sends in them, by a ring.
    """

    kind: str
    net: str
    count: int
    bytes: int


def traffic(program: Program, devices: int, slice_of: Callable[[int], int]) -> tuple[Traffic, ...]:
    """Returns the exchanges of a program, the largest first.

    `slice_of` tells in which slice a device of the mesh is. What stays in one goes over "ICI", what
    leaves it counts for "DCN" as a whole.
    """
    counts: dict[tuple[str, str], int] = defaultdict(int)
    sent: dict[tuple[str, str], float] = defaultdict(float)
    for instruction, runs, _ in program.instructions():
        kind = _kind(instruction)
        if kind is None:
            continue
        groups = _groups(instruction.rest, devices)
        largest = max(map(len, groups))
        if kind in _SENT and largest < 2:
            continue
        crossing = kind in _HOSTS or any(len({slice_of(d) for d in group}) > 1 for group in groups)
        key = kind, "DCN" if crossing else "ICI"
        counts[key] += runs
        sent[key] += runs * _whole(instruction, kind, largest) * _SENT.get(kind, _once)(largest)
    found = [Traffic(*key, counts[key], round(sent[key])) for key in counts]
    return tuple(sorted(found, key=lambda one: -one.bytes))


def _once(size: int) -> float:
    return 1.0


def _kind(instruction: Instruction) -> str | None:
    """Returns the kind of an exchange; the second half of one that is begun early is none."""
    kind = instruction.opcode.removesuffix("-start")
    if kind in _SENT:
        return kind
    between_hosts = instruction.opcode == "send" and "is_host_transfer=true" in instruction.rest
    return "send" if between_hosts else None


def _whole(instruction: Instruction, kind: str, size: int) -> int:
    """Returns the bytes of the array that all take part in."""
    arrays = [array_bytes(part) for part in _parts(instruction.shape)]
    if instruction.opcode.endswith("-start") and kind != "all-reduce" and len(arrays) > 1:
        arrays = arrays[1:2]  # what went in, what comes out, and marks of the transfer
    if kind == "send":
        arrays = arrays[:1]
    return sum(arrays) * (size if kind == "reduce-scatter" else 1)


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
        shape, dims, order = (
            [int(n) for n in part.split(",")] if part else None for part in found.groups()
        )
        numbers = np.arange(np.prod(dims)).reshape(dims)
        return np.transpose(numbers, order).reshape(shape).tolist()
    if found := _LISTED.search(text):
        listed = re.findall(r"\{([\d, ]*)\}", found[1])
        groups = [[int(n) for n in group.split(",")] for group in listed if group.strip()]
        if groups:
            return groups
    return [list(range(devices))]
