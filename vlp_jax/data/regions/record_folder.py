"""Writes the ArrayRecord files that the store "array_record" reads, all at once or as they come."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vlp_jax.data.regions.array_records import INDEX, pack, read_index, write_index
from vlp_jax.data.regions.regions import Regions
from vlp_jax.data.sources.base import optional_module

# One record a group makes single records readable; float features hardly shrink.
_OPTIONS = "group_size:1,uncompressed"

# Pictures in a file that grows: what a kill costs at most.
GROWING = 256


class ShardWriter:
    """Writes records into numbered files of one size and remembers their keys.

    Files of `shards`, name → keys, are there and full.
    """

    def __init__(self, folder: Path, size: int, shards: Mapping[str, Sequence[str]] = {}):
        module = optional_module("array_record.python.array_record_module", "regions")
        self._make = module.ArrayRecordWriter
        self._folder = folder
        self._size = size
        self._open = None
        self.shards: dict[str, list[str]] = {name: list(keys) for name, keys in shards.items()}

    def add(self, key: str, record: bytes) -> bool:
        """Writes a record; returns whether its file is closed now, because it is full."""
        if self._open is None:
            name = f"regions-{len(self.shards):05d}.array_record"
            self.shards[name] = []
            self._open = self._make(str(self._folder / name), _OPTIONS)
        self._open.write(record)
        keys = self.shards[next(reversed(self.shards))]
        keys.append(key)
        full = len(keys) == self._size
        if full:
            self.close()
        return full

    def close(self) -> None:
        """Closes the last file."""
        if self._open is not None:
            self._open.close()
            self._open = None


class RecordFolder:
    """A folder that grows by a picture's record at a time and goes on after a kill.

    Its index lists files that are closed, of `GROWING` pictures; what was in another is lost.
    Attributes: `keys` of the pictures that were there when it was opened.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        shards = read_index(folder) if (folder / INDEX).exists() else {}
        self.keys = frozenset(key for keys in shards.values() for key in keys)
        self._folder = folder
        self._writer = ShardWriter(folder, GROWING, shards)

    def add(self, key: str, regions: Regions) -> None:
        """Writes a picture's record."""
        if self._writer.add(key, pack(key, regions)):
            write_index(self._folder, self._writer.shards)

    def close(self) -> None:
        """Ends writing."""
        self._writer.close()
        write_index(self._folder, self._writer.shards)
