"""Store "vilbert_lmdb": ViLBERT's downstream and Conceptual Captions features."""

from pathlib import Path
from typing import Any

from vlp_jax.data.regions.base64_arrays import decode_array
from vlp_jax.data.regions.lmdb_file import LmdbFile
from vlp_jax.data.regions.msgpack_arrays import read_msgpack
from vlp_jax.data.regions.store import REGION_STORES, RegionStore
from vlp_jax.pickles import read_pickle

_CAPTIONS_FIELDS = (
    "features",
    "cls_prob",
    "boxes",
    "num_boxes",
    "image_h",
    "image_w",
    "image_id",
    "caption",
)
_PICKLE = b"\x80"
_TEXTS = ("boxes", "features", "cls_prob")


@REGION_STORES.register("vilbert_lmdb")
class VilbertLmdb(RegionStore):
    """Pickled dictionaries by image id, read without running anything in them.

    Arrays are numpy's (vilbert-multi-task `script/convert_to_lmdb.py`) or base64 text
    (vilbert_beta `script/convert_trainval_lmdb.py`). Values of the Conceptual Captions LMDB are
    msgpack lists under running numbers (vilbert_beta
    `script/conceptual_caption_preprocess_sequential_train.py`).
    """

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **rules)
        self._database = LmdbFile(self.path)
        listed = self._database.keys(besides=b"keys")
        self._keys = [key for key in listed if key != "__keys__"]
        self._probe()

    def _read(self, row: int) -> dict[str, Any]:
        value = self._database.read(self._keys[row])
        fields = read_pickle(value) if value.startswith(_PICKLE) else _captions_fields(value)
        if not isinstance(fields, dict):
            raise ValueError(f"the value is a {type(fields).__name__}, expected a dictionary")
        for name in _TEXTS:
            if isinstance(fields.get(name), (str, bytes)):
                fields[name] = decode_array(name, fields[name], "<f4", _count(fields))
        return fields


def _captions_fields(value: bytes) -> dict[str, Any]:
    content = read_msgpack(value)
    if not isinstance(content, list) or len(content) != len(_CAPTIONS_FIELDS):
        raise ValueError(f"the value is no pickle and no list of {', '.join(_CAPTIONS_FIELDS)}")
    return dict(zip(_CAPTIONS_FIELDS, content))


def _count(fields: dict[str, Any]) -> int:
    count = str(fields.get("num_boxes"))
    if not count.isdigit():
        raise ValueError(f"num_boxes is {count[:40]}, expected a number")
    return int(count)
