"""A read-only LMDB: keys and values, shared by all readers of one process."""

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp_jax.data.regions.reopened import Reopened
from vlp_jax.data.sources.base import optional_module

_LOCK = threading.Lock()
# An LMDB can be open only once in a process, and several sources may read the same one.
_OPEN: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


class LmdbFile:
    """The entries of an LMDB folder (with data.mdb in it) or file; thread-safe and picklable."""

    def __init__(self, path: Path):
        self._path = path
        self._environment = Reopened(_open, path)
        self._environment.get()

    def keys(self, besides: bytes) -> list[str]:
        """Returns all keys as text, in order, without `besides`, which is no picture."""
        with _readable(), self._environment.get().begin() as transaction:
            found = [key for key in transaction.cursor().iternext(values=False) if key != besides]
        try:
            return [key.decode("utf-8") for key in found]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._path}: keys are not UTF-8 text: {error}") from None

    def read(self, key: str) -> bytes:
        """Returns the value of a key that `keys` lists."""
        with _readable(), self._environment.get().begin() as transaction:
            value = transaction.get(key.encode("utf-8"))
        if value is None:
            raise ValueError("the LMDB holds no such key any more")
        return value


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turns the errors of the library into ours."""
    lmdb = optional_module("lmdb", "regions")
    try:
        yield
    except lmdb.Error as error:
        raise ValueError(f"the LMDB can't be read: {error}") from None


def _open(path: Path) -> Any:
    lmdb = optional_module("lmdb", "regions")
    name = os.path.realpath(path)
    with _LOCK:
        environment = _OPEN.get(name)
        if environment is None:
            with _readable():
                environment = lmdb.open(
                    name,
                    subdir=path.is_dir(),
                    readonly=True,
                    create=False,
                    lock=False,
                    readahead=False,
                )
            _OPEN[name] = environment
        return environment
