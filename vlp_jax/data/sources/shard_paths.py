"""Expands what users write for a set of shards, such as `cc3m/{00000..00331}.tar`, into paths."""

import glob
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from vlp_jax.config import nearest
from vlp_jax.data.sources.base import existing_path

_GROUP = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SHARDS = 10**6


def expand_shards(patterns: str, suffix: str = ".tar") -> list[Path]:
    """Returns the files that `patterns` stands for, in the order written; each exists.

    Patterns are joined with "::" (as in open_clip). Each is a file, a folder (all its files that
    end in `suffix`), a wildcard (`*`, `?`, `[ ]`), or has ranges and choices in braces:
    `{00000..00331}` keeps the zeros, `{train,val}`. Folders and wildcards are sorted.
    FileNotFoundError for missing shards, ValueError for other mistakes.
    """
    found = []
    for pattern in patterns.split("::"):
        if not pattern.strip():
            raise ValueError(f'shards "{patterns}": there is an empty pattern around "::"')
        found += _expand(pattern.strip(), suffix)
    twice = next((path for path, n in _counts(found).items() if n > 1), None)
    if twice is not None:
        raise ValueError(f'shards "{patterns}": {twice} is named twice')
    return found


def _expand(pattern: str, suffix: str) -> list[Path]:
    if re.match(r"(\w+://|pipe:)", pattern):
        raise ValueError(
            f'shards "{pattern}": only files are read, because every sample is read directly; '
            "mount the bucket (gcsfuse, mountpoint-s3) or copy the shards"
        )
    paths = [Path(text).expanduser() for text in _braces(pattern)]
    if len(paths) > 1:
        return _all_existing(pattern, paths)
    if glob.has_magic(str(paths[0])) and not paths[0].exists():
        return _at_least_one(pattern, sorted(map(Path, glob.glob(str(paths[0])))))
    path = existing_path(paths[0], "shard")
    if path.is_dir():
        return _at_least_one(f"{path}/*{suffix}", sorted(path.glob(f"*{suffix}")))
    return [path]


def _braces(pattern: str) -> Iterator[str]:
    """Yields the texts that a pattern with braces stands for; the last group changes first."""
    parts = _GROUP.split(pattern)
    if any(brace in literal for literal in parts[::2] for brace in "{}"):
        raise ValueError(f'shards "{pattern}": braces must pair up and cannot be nested')
    choices = [[part] if i % 2 == 0 else _choices(pattern, part) for i, part in enumerate(parts)]
    for chosen in itertools.product(*choices):
        yield "".join(chosen)


def _choices(pattern: str, group: str) -> list[str]:
    if not (match := _RANGE.fullmatch(group)):
        if ".." in group or "," not in group:
            raise ValueError(
                f'shards "{pattern}": expected a range such as {{00000..00331}} or choices such '
                f"as {{train,val}}, found {{{group}}}"
            )
        return group.split(",")
    first, last = map(int, match.groups())
    if not 0 <= last - first < _MOST_SHARDS:
        raise ValueError(
            f'shards "{pattern}": the range {{{group}}} must rise, to a million at most'
        )
    width = len(match[1]) if match[1].startswith("0") else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1)]


def _all_existing(pattern: str, paths: list[Path]) -> list[Path]:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(
            f'shards "{pattern}": {len(missing)} of {len(paths)} do not exist, the first is '
            f"{missing[0]}"
        )
    return paths


def _at_least_one(pattern: str, paths: list[Path]) -> list[Path]:
    if paths:
        return paths
    folder = Path(pattern).parent
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    hint = nearest(Path(pattern).name, names) if names else f" The folder {folder} has no files."
    raise FileNotFoundError(f'shards "{pattern}": no file matches.{hint}')


def _counts(paths: list[Path]) -> dict[Path, int]:
    counts: dict[Path, int] = {}
    for path in paths:
        counts[path] = counts.get(path, 0) + 1
    return counts
