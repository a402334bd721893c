"""What became of every parameter: its sharding, its bytes, and what could not be split."""

import dataclasses
import math
import re
from collections.abc import Iterable

from jax.sharding import PartitionSpec

_MAX_LINES = 16


@dataclasses.dataclass(frozen=True)
class ParameterSharding:
    """One parameter: its path, shape, partition spec, size, and dimensions left whole.

    `bytes` counts the whole array, `device_bytes` the part that one device holds.
    """

    path: str
    shape: tuple[int, ...]
    spec: PartitionSpec
    bytes: int
    device_bytes: int
    fallbacks: tuple[str, ...] = ()
    annotated: bool = True

    @property
    def replicated(self) -> bool:
        """Whether every device holds the whole array."""
        return self.device_bytes == self.bytes


@dataclasses.dataclass(frozen=True)
class ShardingReport:
    """The shardings of a parameter tree on one mesh.

    `unused_rules` are the logical names that map to a mesh axis but occur in no parameter.
    """

    mesh: str
    parameters: tuple[ParameterSharding, ...]
    unused_rules: tuple[str, ...]

    @property
    def total_bytes(self) -> int:
        """Bytes of all parameters, each counted once."""
        return sum(p.bytes for p in self.parameters)

    @property
    def replicated_bytes(self) -> int:
        """Bytes that every device holds a full copy of."""
        return sum(p.bytes for p in self.parameters if p.replicated)

    @property
    def sharded_bytes_per_device(self) -> int:
        """Bytes that one device holds of the parameters that are split."""
        return sum(p.device_bytes for p in self.parameters if not p.replicated)

    @property
    def fallbacks(self) -> tuple[str, ...]:
        """One sentence for each dimension that a rule would split but that is not divisible."""
        return tuple(f"{p.path}: {text}" for p in self.parameters for text in p.fallbacks)

    def text(self) -> str:
        """Returns a readable summary: one line a parameter, or a group in a big tree."""
        device_bytes = self.replicated_bytes + self.sharded_bytes_per_device
        lines = [
            f"mesh {self.mesh}",
            f"{len(self.parameters)} parameters, {size_text(self.total_bytes)}; per device "
            f"{size_text(device_bytes)}, of which {size_text(self.replicated_bytes)} replicated",
            *_table(self.parameters),
        ]
        lines += _section("indivisible, kept whole", _collapse(self.fallbacks))
        bare = (p.path for p in self.parameters if not p.annotated)
        lines += _section("without axis names, replicated", _collapse(bare))
        if self.unused_rules:
            lines.append(f"rules that no parameter uses: {', '.join(self.unused_rules)}")
        return "\n".join(lines)


def _table(parameters: tuple[ParameterSharding, ...]) -> list[str]:
    if len(parameters) <= _MAX_LINES:
        rows = [
            (p.path, str(list(p.shape)), _spec_text(p.spec), size_text(p.device_bytes))
            for p in parameters
        ]
        return _align([("parameter", "shape", "split over", "per device"), *rows])
    groups = _group(parameters)
    largest = sorted(groups.items(), key=lambda item: -sum(p.bytes for p in item[1]))
    rows = [
        (
            name,
            str(len(members)),
            size_text(sum(p.bytes for p in members)),
            size_text(sum(p.device_bytes for p in members)),
        )
        for name, members in largest[:_MAX_LINES]
    ]
    lines = _align([("group", "parameters", "bytes", "per device"), *rows])
    return lines + _more(len(largest) - len(rows), "groups")


def _group(parameters: Iterable[ParameterSharding]) -> dict[str, list[ParameterSharding]]:
    """Groups by the first parts of the path, as many parts as still give few groups."""
    for depth in (4, 3, 2, 1):
        groups: dict[str, list[ParameterSharding]] = {}
        for parameter in parameters:
            parts = _pattern(parameter.path).split("/")[:depth]
            groups.setdefault("/".join(parts), []).append(parameter)
        if len(groups) <= _MAX_LINES:
            break
    return groups


def _pattern(path: str) -> str:
    """Replaces layer numbers by a star, so that equal layers fall together."""
    return re.sub(r"(?<![a-z0-9])\d+(?=/|$|:)", "*", path)


def _collapse(sentences: Iterable[str]) -> list[str]:
    counts: dict[str, int] = {}
    for sentence in sentences:
        path, colon, rest = sentence.partition(":")
        line = _pattern(path) + colon + rest
        counts[line] = counts.get(line, 0) + 1
    return [f"{line} (×{count})" if count > 1 else line for line, count in counts.items()]


def _section(title: str, items: list[str]) -> list[str]:
    if not items:
        return []
    shown = [f"  {item}" for item in items[:_MAX_LINES]]
    return [f"{title}:", *shown, *_more(len(items) - len(shown), "lines")]


def _more(count: int, what: str) -> list[str]:
    return [f"  ... and {count} more {what}"] if count > 0 else []


def _align(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in rows
    ]


def _spec_text(spec: PartitionSpec) -> str:
    entries = [
        "·" if entry is None else entry if isinstance(entry, str) else "+".join(entry)
        for entry in spec
    ]
    return " ".join(entries) if any(entry != "·" for entry in entries) else "replicated"


def size_text(count: int) -> str:
    """Returns a number of bytes as text, such as "1.5 GiB"."""
    power = min(int(math.log(count, 1024)), 4) if count else 0
    return f"{count / 1024**power:.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"
