"""Reads the text of a compiled program: its instructions, and how often each of them runs."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

ITEM_BITS = {
    "pred": 8, "s2": 2, "s4": 4, "s8": 8, "s16": 16, "s32": 32, "s64": 64,
    "u2": 2, "u4": 4, "u8": 8, "u16": 16, "u32": 32, "u64": 64,
    "f8e4m3fn": 8, "f8e5m2": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128,
}  # fmt: skip

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\([^=]*)?.*\{\s*$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_OPCODE = re.compile(r"\s*([a-z][\w\-]*)\(")
_CALLED = re.compile(
    r"(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
_BRANCHES = re.compile(r"(?:branch_computations|called_computations|calls)=\{([^}]*)\}")
_CONDITION = re.compile(r"condition=%?([\w.\-]+)")
_INDEX = re.compile(r"\bindex=(\d+)")
_TRIPS = re.compile(r'known_trip_count"?:\s*\{\s*"?n"?:\s*"?(\d+)')


@dataclass(frozen=True)
class Instruction:
    """One instruction of a computation.

    Attributes:
      shape: text of what it gives, such as "(f32[8,4], f32[])". operands: names of what it reads.
      rest: text of all its attributes.
    """

    name: str
    shape: str
    opcode: str
    operands: tuple[str, ...]
    rest: str

    @property
    def dims(self) -> tuple[int, ...]:
        """Dimensions of its array; of several the first one's."""
        return array_dims(self.shape)

    @property
    def called(self) -> tuple[str, ...]:
        """Computations that it runs."""
        names = [name for _, name in _CALLED.findall(self.rest)]
        for group in _BRANCHES.findall(self.rest):
            names += [name.strip().removeprefix("%") for name in group.split(",")]
        return tuple(filter(None, names))


@dataclass(frozen=True)
class Placed:
    """An instruction in its computation, of which `here` has all others, by name.

    runs: how often it runs when the program runs once.
    """

    instruction: Instruction
    computation: str
    here: Mapping[str, Instruction]
    runs: int


@dataclass(frozen=True)
class Program:
    """A compiled module: computation → its instructions."""

    computations: Mapping[str, tuple[Instruction, ...]]
    entry: str

    def placed(self) -> Iterator[Placed]:
        """Yields every instruction that runs.

        A loop counts as often as it runs, once where the text does not say, and so does each
        branch.
        """
        counts: dict[str, int] = defaultdict(int)
        counts[self.entry] = 1
        for name in self._callers_first():
            here = {instruction.name: instruction for instruction in self.computations[name]}
            for instruction in here.values():
                yield Placed(instruction, name, here, counts[name])
                times = self._trips(instruction, here) if instruction.opcode == "while" else 1
                for called in instruction.called:
                    counts[called] += counts[name] * times

    def _trips(self, loop: Instruction, here: Mapping[str, Instruction]) -> int:
        """Returns how often a loop runs, as the text says or as its condition counts."""
        if found := _TRIPS.search(loop.rest):
            return int(found[1])
        condition = {i.name: i for i in self.computations[_CONDITION.search(loop.rest)[1]]}
        test = next((i for i in condition.values() if i.opcode == "compare"), None)
        if test is None or "direction=LT" not in test.rest:
            return 1
        counter, bound = (condition[name] for name in test.operands)
        place = _INDEX.search(counter.rest)
        if bound.opcode != "constant" or place is None:
            return 1
        state = here.get(loop.operands[0])
        first = _constant(state.operands[int(place[1])], here) if state.opcode == "tuple" else 0
        return max(int(bound.operands[0]) - first, 1)

    def _callers_first(self) -> list[str]:
        order: list[str] = []
        seen: set[str] = set()
        waiting = [(self.entry, False)]
        while waiting:
            name, done = waiting.pop()
            if done:
                order.append(name)
            elif name not in seen:
                seen.add(name)
                waiting.append((name, True))
                called = (c for i in self.computations[name] for c in i.called)
                waiting += [(c, False) for c in called if c in self.computations]
        return order[::-1]


def read_program(text: str) -> Program:
    """Returns the program that `compiled.as_text()` shows.

    ValueError for a text without an entry.
    """
    computations: dict[str, list[Instruction]] = {}
    entry, current = "", None
    for line in text.splitlines():
        if not line.startswith((" ", "}")) and (header := _HEADER.match(line)):
            current = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        elif current is not None and (found := _LINE.match(line)):
            if instruction := _instruction(*found.groups()):
                current.append(instruction)
    if not entry:
        raise ValueError("the text of the compiled program has no ENTRY computation")
    return Program({name: tuple(made) for name, made in computations.items()}, entry)


def array_bytes(shape: str) -> int:
    """Returns the bytes of all arrays in the text of a shape, without padding."""
    bits = 0
    for kind, dims in _ARRAY.findall(shape):
        size = 1
        for dim in filter(None, dims.split(",")):
            size *= int(dim)
        bits += size * ITEM_BITS.get(kind, 0)
    return bits // 8


def array_dims(shape: str) -> tuple[int, ...]:
    """Returns the dimensions of the first array in the text of a shape."""
    found = _ARRAY.search(shape)
    return tuple(int(dim) for dim in found[2].split(",") if dim) if found else ()


def _constant(name: str, here: Mapping[str, Instruction]) -> int:
    """Returns the whole number that a copy of a constant holds, 0 for all else."""
    while name in here and here[name].opcode == "copy":
        name = here[name].operands[0]
    found = here.get(name)
    is_number = found is not None and found.opcode == "constant" and found.operands[0].isdigit()
    return int(found.operands[0]) if is_number else 0


def _instruction(name: str, text: str) -> Instruction | None:
    shape, rest = _split_shape(text)
    opcode = _OPCODE.match(rest)
    if not opcode:
        return None
    inside, attributes = _bracketed(rest[opcode.end() - 1 :])
    operands = tuple(re.findall(r"%([\w.\-]+)", inside)) or tuple(
        part.split()[-1] for part in inside.split(",") if part.strip()
    )
    return Instruction(name, shape, opcode[1], operands, attributes)


def _split_shape(text: str) -> tuple[str, str]:
    """Splits "f32[8]{0} add(…)" or "(f32[8], …) while(…)" after the shape."""
    if text.startswith("("):
        inside, rest = _bracketed(text)
        return inside, rest
    shape, _, rest = text.partition(" ")
    return shape, rest


def _bracketed(text: str) -> tuple[str, str]:
    """Splits a text that begins with "(" into what the brackets hold, and what comes after."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return text[1:i], text[i + 1 :]
    return text[1:], ""
