"""Expands what users write for a set of shards, such as `cc3m/{00000..00331}.tar`, into paths."""

import contextlib
import glob
import itertools
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from vlp_jax.config import nearest
from vlp_jax.data.buckets import is_bucket, objects_like, store_errors
from vlp_jax.data.foreign import shortened
from vlp_jax.data.kept_arrays import is_kept
from vlp_jax.data.paths import any_path, existing_file

_GROUP = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SHARDS = 10**6
_THREADS = 32  # a store is asked for many shards at once


def expand_shards(patterns: str, suffix: str = ".tar") -> list[Path]:
    """Returns the files that `patterns` stands for, in the order written; each exists.

    Patterns are joined with "::" (as in open_clip). Each is a file, a folder (all its files that
    end in `suffix`) or a wildcard (`*`, `?`, `[ ]`), or several of them by ranges and choices in
    braces: `{00000..00331}` keeps the zeros, `{train,val}`. Folders and wildcards are sorted.
    FileNotFoundError for missing shards, ValueError for other mistakes.
    """
    found = []
    named = _named(patterns)
    for pattern in patterns.split("::"):
        if not pattern.strip():
            raise ValueError(f'{named}: there is an empty pattern around "::"')
        try:
            found += _expand(pattern.strip(), suffix)
        except OSError as error:
            if error.errno is None:  # one of ours
                raise
            raise ValueError(f"{named}: {error.strerror}") from None
    twice = next((path for path, n in _counts(found).items() if n > 1), None)
    if twice is not None:
        raise ValueError(f"{named}: {twice} is named twice")
    return found


def _expand(pattern: str, suffix: str) -> list[Path]:
    named = _named(pattern)
    paths = [any_path(text, "shards") for text in _braces(pattern)]
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(partial(_matches, suffix=suffix), paths))
    missing = [path for path, files in zip(paths, found) if not files]
    if missing:
        raise FileNotFoundError(f"{named}: {_none_of(missing, len(paths), suffix)}")
    return [file for files in found for file in files]


def _matches(path: Path, suffix: str) -> list[Path]:
    """Returns the files of a path, a folder or a wildcard, none if there are none."""
    with store_errors(f"shards {path}") if is_bucket(path) else contextlib.nullcontext():
        found = _files(path, suffix)
    return [existing_file(file, "the shard", buckets=True) for file in found]


def _files(path: Path, suffix: str) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob(f"*{suffix}"))
    if path.exists():  # a name may have `[` in it
        return [path]
    like = objects_like(path) if is_bucket(path) else map(Path, glob.glob(str(path)))
    return sorted(file for file in like if not is_kept(file))


def _none_of(missing: list[Path], count: int, suffix: str) -> str:
    """Returns the sentence about `missing` ones of `count` paths."""
    first = missing[0] / f"*{suffix}" if missing[0].is_dir() else missing[0]
    hint = f" The folder {shortened(str(first.parent), 200)} does not exist."
    if first.parent.is_dir():
        hint = nearest(first.name[:255], (path.name for path in first.parent.iterdir()))
    several = f"{len(missing)} of {count} match no file, the first is"
    what = several if count > 1 else "no file matches"
    return f"{what} {shortened(str(first), 200)}.{hint}"


def _braces(pattern: str) -> Iterator[str]:
    """Yields the texts that a pattern with braces stands for; the last group changes first."""
    parts = _GROUP.split(pattern)
    if any(brace in literal for literal in parts[::2] for brace in "{}"):
        raise ValueError(f"{_named(pattern)}: braces must pair up and cannot be nested")
    choices = [[part] if i % 2 == 0 else _choices(pattern, part) for i, part in enumerate(parts)]
    for chosen in itertools.product(*choices):
        yield "".join(chosen)


def _choices(pattern: str, group: str) -> list[str]:
    if not (match := _RANGE.fullmatch(group)):
        if ".." in group or "," not in group:
            raise ValueError(
                f"{_named(pattern)}: expected a range such as {{00000..00331}} or choices such "
                f"as {{train,val}}, found {{{shortened(group, 200)}}}"
            )
        return group.split(",")
    first, last = map(int, match.groups())
    if not 0 <= last - first < _MOST_SHARDS:
        raise ValueError(
            f"{_named(pattern)}: the range {{{group}}} must rise, to a million at most"
        )
    width = len(match[1]) if match[1].startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1)]


def _named(pattern: str) -> str:
    return f'shards "{shortened(pattern, 200)}"'


def _counts(paths: list[Path]) -> dict[Path, int]:
    counts: dict[Path, int] = {}
    for path in paths:
        counts[path] = counts.get(path, 0) + 1
    return counts
