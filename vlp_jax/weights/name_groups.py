"""Says many names of parameters or tensors in few words."""

import re
from collections import Counter
from collections.abc import Iterable

_GROUPS_SHOWN = 8


def groups(chosen: Iterable[str], every: Iterable[str]) -> list[str]:
    """Returns names under the shortest prefixes that no other name has, with their numbers.

    Layers count as one group, "fusion/layer_*/cross_attention (60)", where all are chosen.
    """
    chosen = set(chosen)
    candidates = lambda name: (*_prefixes(_star(name)), *_prefixes(name))
    others = {prefix for name in set(every) - chosen for prefix in candidates(name)}
    shortest = lambda name: next(prefix for prefix in candidates(name) if prefix not in others)
    found = Counter(shortest(name) for name in sorted(chosen))
    lines = [f"{prefix} ({count})" if count > 1 else prefix for prefix, count in found.items()]
    more = [f"and {len(lines) - _GROUPS_SHOWN} more groups"] if len(lines) > _GROUPS_SHOWN else []
    return lines[:_GROUPS_SHOWN] + more


def _star(name: str) -> str:
    return re.sub(r"\d+", "*", name)


def _prefixes(name: str) -> list[str]:
    """Returns a path's or a tensor name's ancestors, the shortest first, and itself."""
    return [name[: found.start()] for found in re.finditer(r"[./]", name)] + [name]
