"""Arrays computed from a file once and kept beside it, or in a cache folder, until it changes."""

import hashlib
import io
import logging
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlp_jax.config.user_cache import user_cache
from vlp_jax.data.buckets import is_bucket, object_stamp, store_errors
from vlp_jax.data.paths import absolute

Arrays = dict[str, np.ndarray]
# What callers name their arrays, with the number of a later form, and `_save`'s unfinished files.
_KEPT = re.compile(r".+\.(lines|tar_index)\d*\.npz(\.[0-9a-f]{32}\.tmp)?")
_LOG = logging.getLogger(__name__)


def keep_arrays(file: Path, name: str, build: Callable[[Path], Arrays]) -> Arrays:
    """Returns `build(file)`, or what an earlier call has kept if `file` is still the same.

    Kept beside the file as `FILE.name.npz`, or where that can't be written in
    `~/.cache/vlp_jax/name`. A file is the same if its size and time of change are.
    """
    stamp = np.array(_stamp(file), np.int64)
    places = _places(absolute(file), name)
    for place in places:
        if (arrays := _load(place, stamp)) is not None:
            return arrays
    _LOG.info("making the %s of %s", name, file)
    arrays = build(file)
    for place in places:
        try:
            _save(place, arrays | {"stamp": stamp})
            return arrays
        except (OSError, ValueError) as error:
            _LOG.debug("%s cannot be written: %s", place, error)
    _LOG.warning("the %s of %s cannot be kept and is made at every start", name, file)
    return arrays


def is_kept(file: Path) -> bool:
    """Tells by its name whether `keep_arrays` has made a file, which wildcards then pass over."""
    return _KEPT.fullmatch(file.name) is not None


def _stamp(file: Path) -> tuple[int, int]:
    if is_bucket(file):
        return object_stamp(file)
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _places(file: Path, name: str) -> list[Path]:
    # Files of different folders have the same names, so a common folder needs the whole path.
    hashed = hashlib.blake2b(str(file).encode(), digest_size=8).hexdigest()
    beside = file.with_name(f"{file.name}.{name}.npz")
    return [beside, user_cache(name) / f"{hashed}-{beside.name}"]


def _load(place: Path, stamp: np.ndarray) -> Arrays | None:
    """Returns kept arrays, or None if there are none, they are damaged or the file has changed."""
    try:
        with place.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
    except Exception:  # what numpy and zipfile raise for damage has no end
        return None
    return arrays if np.array_equal(arrays.pop("stamp", None), stamp) else None


def _save(place: Path, arrays: Arrays) -> None:
    """Writes atomically, so that readers on other hosts see a whole file or none."""
    if is_bucket(place):
        _save_object(place, arrays)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f"{place.name}.{uuid.uuid4().hex}.tmp")
    try:
        with unfinished.open("xb") as stream:
            np.savez(stream, **arrays)
        unfinished.replace(place)
    finally:
        unfinished.unlink(missing_ok=True)


def _save_object(place: Path, arrays: Arrays) -> None:
    content = io.BytesIO()
    np.savez(content, **arrays)
    with store_errors(str(place)):
        place.write_bytes(content.getvalue())
