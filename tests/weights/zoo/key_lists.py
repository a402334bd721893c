"""Reads the compact lists of published tensor names and shapes in `keys/`."""

import itertools
import re
from pathlib import Path


def read_keys(name: str) -> dict[str, tuple[int, ...]]:
    """Returns published name -> shape; a line "layer.{0-2}.{a|b}.bias 4,3" stands for six names."""
    keys = {}
    for line in (Path(__file__).parent / "keys" / f"{name}.txt").read_text().splitlines():
        pattern, _, shape = line.partition(" ")
        for key in expand(pattern):
            keys[key] = tuple(int(n) for n in shape.split(",") if n)
    return keys


def expand(pattern: str) -> list[str]:
    """Returns the names that a pattern with {first-last} and {a|b} stands for."""
    parts = re.split(r"\{([^}]*)\}", pattern)
    choices = [[p] if i % 2 == 0 else _choices(p) for i, p in enumerate(parts)]
    return ["".join(c) for c in itertools.product(*choices)]


def _choices(text: str) -> list[str]:
    numbers = re.fullmatch(r"(\d+)-(\d+)", text)
    if numbers:
        return [str(i) for i in range(int(numbers[1]), int(numbers[2]) + 1)]
    return text.split("|")
