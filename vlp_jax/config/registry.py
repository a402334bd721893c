"""Registries: plain dictionaries with a decorator and a helpful error for unknown names."""

import difflib
from collections.abc import Iterable
from typing import Any, Callable


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ' Did you mean "x"?' for the known name closest to `name`, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""


class Registry(dict[str, Any]):
    """Maps a name to a class or function of one kind, such as "fusion" or "source"."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind

    def register(self, name: str) -> Callable[[Any], Any]:
        """Returns a decorator that files its target under `name`; a name can be taken once."""

        def add(target: Any) -> Any:
            if name in self:
                raise ValueError(f'{self.kind} "{name}" is registered already, by {self[name]!r}')
            self[name] = target
            return target

        return add

    def get_known(self, name: str, path: str = "") -> Any:
        """Returns the entry `name`; an unknown one is a ValueError that lists the known ones."""
        if not isinstance(name, str) or name not in self:
            where = f"{path}: " if path else ""
            raise ValueError(
                f'{where}unknown {self.kind} "{name}".{nearest(name, self)} '
                f"Known: {', '.join(sorted(self))}"
            )
        return self[name]
