"""A read-only LMDB: keys and values by random access, without mapping the file."""

import bisect
from pathlib import Path

from vlp_jax.data.regions.lmdb_pages import HEAD, check_page, read_entries
from vlp_jax.data.regions.reopened import Reopened
from vlp_jax.data.regions.tsv_file import open_unbuffered, read_exactly


class LmdbFile:
    """The entries of an LMDB folder (with data.mdb in it) or file; thread-safe and picklable."""

    def __init__(self, path: Path):
        file = path / "data.mdb" if path.is_dir() else path
        self._entries = read_entries(file)
        self._keys = self._entries.keys
        self._stream = Reopened(open_unbuffered, file)
        self._path = path

    def keys(self, besides: bytes) -> list[str]:
        """Returns all keys as text, in order, without `besides`, which is no picture."""
        try:
            return [key.decode("utf-8") for key in self._keys if key != besides]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self._path}: keys are not UTF-8 text: {error}") from None

    def read(self, key: str) -> bytes:
        """Returns the value of a key that `keys` lists."""
        wanted = key.encode("utf-8")
        place = bisect.bisect_left(self._keys, wanted)
        if place == len(self._keys) or self._keys[place] != wanted:
            raise ValueError("the LMDB is damaged: its keys are not in order")
        offset, size = int(self._entries.offsets[place]), int(self._entries.sizes[place])
        page = int(self._entries.pages[place])
        head = HEAD if page >= 0 else 0
        data = read_exactly(self._stream.get().fileno(), size + head, offset - head)
        if len(data) < size + head:
            raise ValueError("the LMDB has become shorter since it was opened")
        if head:
            check_page(data[:head], page)
        return data[head:]
