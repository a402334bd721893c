"""Brings the index of a folder of pictures up to date, and tells people what that means."""

import sys
from typing import Any

_SHOWN = 20  # unreadable pictures that are named


def update_index(index: Any) -> None:
    """Encodes what the index lacks, and says so."""
    if index.other_model:
        say(f"{index.path} was made by another model, and is made anew")
    counts = f"{len(index):,} known, {len(index.stale):,} to encode, {len(index.removed):,} gone"
    say(f"{index.path}: pictures: {counts}")
    index.update(lambda done, of: say(f"encoded {done:,} of {of:,}"))
    reasons = list(index.unreadable.values())
    if reasons:
        say(f"left out, as they cannot be read: {len(reasons):,}")
        more = [f"and {len(reasons) - _SHOWN:,} more"] if len(reasons) > _SHOWN else []
        for line in [*reasons[:_SHOWN], *more]:
            say(f"  {line}")


def say(line: str) -> None:
    """Prints a line for people, beside what is printed for programs."""
    print(line, file=sys.stderr, flush=True)
