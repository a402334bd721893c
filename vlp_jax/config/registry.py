"""Registries: plain dictionaries with a decorator and a helpful error for unknown names."""

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any, Callable

_WRONG_SHARE = 0.4  # of the letters of a name that is still recognised
_TELLING = 3  # letters that say which name is meant
_LONGEST = 300  # characters of a name that is compared with others


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ' Did you mean "x"?' for a known name that `name` may be meant for, or nothing.

    That is one with few wrong letters for its length, or one that holds the other. Very long names
    are nobody's slip, and comparing them takes the square of their length.
    """
    name, texts = str(name), (str(k) for k in known)
    if len(name) > _LONGEST:
        return ""
    short = {text.lower(): text for text in texts if len(text) <= _LONGEST}
    close = difflib.get_close_matches(name.lower(), short, n=3, cutoff=0.5)
    meant = [short[other] for other in close if _is_near(name.lower(), other)]
    return f' Did you mean "{meant[0]}"?' if meant else ""


def _is_near(first: str, second: str) -> bool:
    shorter, longer = sorted((first, second), key=len)
    if len(shorter) >= _TELLING and shorter in longer:
        return True
    return _wrong_letters(first, second) <= max(1, len(longer) * _WRONG_SHARE)


def _wrong_letters(first: str, second: str) -> int:
    """Returns how many letters to insert, remove, replace or exchange with their neighbour."""
    before, last = [], list(range(len(second) + 1))
    for i, letter in enumerate(first, start=1):
        row = [i]
        for j, other in enumerate(second, start=1):
            least = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != other))
            swapped = i > 1 and j > 1 and letter == second[j - 2] and first[i - 2] == other
            row.append(min(least, before[j - 2] + 1) if swapped else least)
        before, last = last, row
    return last[-1]


class Registry(dict[str, Any]):
    """Maps a name to a class or function of one kind, such as "fusion" or "source".

    With a `base` all are classes that extend it.
    """

    def __init__(self, kind: str, base: type | None = None):
        super().__init__()
        self.kind = kind
        self.base = base

    def register(self, name: str) -> Callable[[Any], Any]:
        """Returns a decorator that files its target under `name`; a name can be taken once."""

        def add(target: Any) -> Any:
            if name in self:
                raise ValueError(f'{self.kind} "{name}" is registered already, by {self[name]!r}')
            if self.base:
                self._check(name, target)
            self[name] = target
            return target

        return add

    def _check(self, name: str, target: Any) -> None:
        what, base = f'{self.kind} "{name}"', self.base
        if not (isinstance(target, type) and issubclass(target, base)):
            raise ValueError(f"{what} is {target!r}: expected a class that extends {base.__name__}")
        has_fields = dataclasses.is_dataclass(base) and vars(target).get("__annotations__")
        if has_fields and not {"__dataclass_fields__", "__init__"} & vars(target).keys():
            raise ValueError(
                f"{what}: {target.__name__} has settings and is no dataclass: write @dataclass, as "
                f"{base.__name__} has it, between its registration and its name"
            )

    def get_known(self, name: str, path: str = "") -> Any:
        """Returns the entry `name`; an unknown one is a ValueError that lists the known ones."""
        if not isinstance(name, str) or name not in self:
            where = f"{path}: " if path else ""
            raise ValueError(
                f'{where}unknown {self.kind} "{name}".{nearest(name, self)} '
                f"Known: {', '.join(sorted(self))}"
            )
        return self[name]
