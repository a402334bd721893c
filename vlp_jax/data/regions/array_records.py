"""Store "array_record": what `vlp-jax data convert` writes, all formats as one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.json_text import parse_json
from vlp_jax.data.regions.regions import Regions
from vlp_jax.data.regions.store import REGION_STORES, RegionStore
from vlp_jax.data.sources.base import optional_module
from vlp_jax.data.sources.record_bytes import decode_record, encode_record
from vlp_jax.data.whole_file import write_whole

INDEX = "index.json"
FORMAT = "vlp_jax regions 1"


@REGION_STORES.register("array_record")
class ArrayRecords(RegionStore):
    """A folder of ArrayRecord files, with an index of all keys."""

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **rules)
        shards = read_index(self.path)
        self._keys = [key for shard in shards.values() for key in shard]
        self._records = _open_records([self.path / name for name in shards])
        if len(self._records) != len(self._keys):
            raise ValueError(
                f"{self.path} holds {len(self._records)} records, but its {INDEX} lists "
                f"{len(self._keys)}"
            )
        self._probe()

    def _read(self, row: int) -> dict[str, Any]:
        with foreign_bytes("the ArrayRecord file is damaged"):
            record = self._records[row]
        key, fields = unpack(record)
        if key != self._keys[row]:
            raise ValueError(f'{INDEX} does not fit the files: the record is "{key}"')
        return fields


def _open_records(files: list[Path]) -> Any:
    module = optional_module("array_record.python.array_record_data_source", "regions")
    with foreign_bytes(f"{files[0].parent}: an ArrayRecord file is damaged"):
        return module.ArrayRecordDataSource([str(file) for file in files])


def pack(key: str, regions: Regions, half: bool = False) -> bytes:
    """Returns one picture as bytes; `half` keeps floating numbers as float16.

    Raises ValueError for numbers too large for it.
    """
    fields = regions.fields()
    if half:
        fields |= {n: _half(key, n, fields[n]) for n in fields if _halved(n, fields[n])}
    return encode_record({"key": key, **fields})


def unpack(data: bytes) -> tuple[str, dict[str, Any]]:
    """Returns the key and the fields of what `pack` has written."""
    fields = decode_record(data)
    return fields.pop("key", ""), fields


def _halved(name: str, value: Any) -> bool:
    """Boxes stay: half precision moves a corner by up to half a pixel."""
    return (
        name not in ("boxes", "box_sizes")
        and isinstance(value, np.ndarray)
        and value.dtype == np.float32
    )


def _half(key: str, name: str, values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if not np.isfinite(halves).all():
        raise ValueError(
            f'picture "{key}": {name} reach {np.abs(values).max():.6g}, which does not fit '
            "float16; convert without --half"
        )
    return halves


def write_index(folder: Path, shards: Mapping[str, Sequence[str]]) -> None:
    """Writes which file holds which keys, all at once: what was being written is not half there."""
    write_whole(folder / INDEX, json.dumps({"format": FORMAT, "shards": shards}))


def read_index(folder: Path) -> dict[str, list[str]]:
    """Returns file name → keys of its records."""
    file = folder / INDEX
    if not file.is_file():
        raise ValueError(f"{folder} holds no {INDEX}; `vlp-jax data convert` makes such folders")
    with foreign_bytes(f"{file} is damaged"):
        content = parse_json(file.read_bytes(), "content")
        kind, shards = content["format"], content["shards"]
        if not all(isinstance(key, str) for keys in shards.values() for key in keys):
            raise ValueError("shards are no lists of keys")
    if kind != FORMAT:
        raise ValueError(f'{file} has format "{kind}", expected "{FORMAT}"')
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing[:3])} of its {len(shards)} files")
    return shards
