"""Files that a verb writes beside what it prints."""

import sys
from collections.abc import Callable
from pathlib import Path

from vlp_jax.data.buckets import reason


def written(verb: str, path: Path, write: Callable[[], object]) -> bool:
    """Says whether `write` could write to `path`; a disk that refuses it is told in one line."""
    try:
        write()
    except OSError as error:
        print(f'vlp-jax {verb}: "{path}" is not written: {reason(error)}', file=sys.stderr)
        return False
    return True
