"""Copies any region store into ArrayRecord files, checking every picture on the way."""

import functools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vlp_jax.data.paths import path_to_write
from vlp_jax.data.regions.array_records import pack, write_index
from vlp_jax.data.regions.joined import JoinedStores
from vlp_jax.data.regions.record_folder import ShardWriter
from vlp_jax.data.regions.regions import Regions
from vlp_jax.data.regions.store import RegionStore


@dataclass(frozen=True)
class Check:
    """What going through a store has found.

    pictures: how many could be read. regions: the least, mean and most of them in a picture.
    problems: why the others could not be read.
    """

    pictures: int
    regions: tuple[int, float, int]
    problems: tuple[str, ...]


def check(
    store: RegionStore | JoinedStores,
    prepare: Callable[[str, Regions], bytes] = lambda key, regions: b"",
    write: Callable[[str, bytes], None] = lambda key, record: None,
    skip_bad: bool = True,
    progress: Callable[[int], None] = lambda done: None,
) -> Check:
    """Reads all pictures; the first bad one ends it if not `skip_bad`.

    `write` gets what `prepare` makes of each; a ValueError of `prepare` is the picture's fault,
    while those of `write` end it.
    """
    counts: list[int] = []
    problems: list[str] = []
    for done, key in enumerate(store.keys(), 1):
        try:
            regions = store[key]
            record = prepare(key, regions)
        except (ValueError, OSError) as error:
            if not skip_bad:
                raise
            problems.append(str(error))
        else:
            write(key, record)
            counts.append(len(regions))
        progress(done)
    spread = (min(counts), sum(counts) / len(counts), max(counts)) if counts else (0, 0.0, 0)
    return Check(len(counts), spread, tuple(problems))


def convert(
    store: RegionStore | JoinedStores,
    folder: str | Path,
    half: bool = False,
    pictures_per_file: int = 10_000,
    skip_bad: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Check:
    """Writes all pictures of a store into `folder`, which must not exist.

    half: keep floating numbers as float16, half the size. The folder appears when it is whole.
    """
    if pictures_per_file < 1:
        raise ValueError(f"pictures_per_file is {pictures_per_file}, expected at least 1")
    folder = path_to_write(folder, "folder to make")
    if folder.exists():
        raise ValueError(f"{folder} exists already; convert into a new folder")
    with _whole_or_nothing(folder) as unfinished:
        writer = ShardWriter(unfinished, pictures_per_file)
        try:
            prepare = functools.partial(pack, half=half)
            found = check(store, prepare, writer.add, skip_bad, progress)
        finally:
            writer.close()
        if not found.pictures:
            raise ValueError(f"no picture could be read: {found.problems[0]}")
        write_index(unfinished, writer.shards)
    return found


@contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Gives a temporary folder beside `folder`, which becomes `folder` unless an error occurs."""
    unfinished = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.tmp")
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
