"""Stores "lxmert_tsv" and "butd_tsv": one picture a line, arrays as base64 text."""

from pathlib import Path
from typing import Any, ClassVar

from vlp_jax.data.regions.base64_arrays import decode_array
from vlp_jax.data.regions.store import REGION_STORES, RegionStore
from vlp_jax.data.regions.tsv_file import TsvFile

_DTYPES = {
    "objects_id": "<i8",
    "objects_conf": "<f4",
    "attrs_id": "<i8",
    "attrs_conf": "<f4",
    "boxes": "<f4",
    "features": "<f4",
    "cls_prob": "<f4",
}


class DetectorTsv(RegionStore):
    """A TSV file whose `columns`, of which the last `optional` may be missing, stand in order."""

    columns: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[int] = 0

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **rules)
        self._file = TsvFile(self.path)
        self._keys = self._file.keys
        self._probe()

    def _read(self, row: int) -> dict[str, Any]:
        texts = self._file.columns(row)
        if not len(self.columns) - self.optional <= len(texts) <= len(self.columns):
            raise ValueError(
                f"line {row + 1} has {len(texts)} columns, expected {', '.join(self.columns)}"
                f"{_other_format(len(texts), type(self))}"
            )
        columns = dict(zip(self.columns, texts))
        fields = {n: c if n in _DTYPES else bytes(c) for n, c in columns.items()}
        count = fields["num_boxes"]
        if not count.isdigit():
            raise ValueError(f"line {row + 1}: num_boxes is {count[:40]!r}, expected a number")
        for name in _DTYPES.keys() & columns.keys():
            if self.rules.class_scores or name != "cls_prob":
                fields[name] = decode_array(name, columns[name], _DTYPES[name], int(count))
        return fields


@REGION_STORES.register("lxmert_tsv")
class LxmertTsv(DetectorTsv):
    """LXMERT's features: with object and attribute classes. Source: LXMERT `src/utils.py`."""

    columns = (
        "img_id",
        "img_h",
        "img_w",
        "objects_id",
        "objects_conf",
        "attrs_id",
        "attrs_conf",
        "num_boxes",
        "boxes",
        "features",
    )


@REGION_STORES.register("butd_tsv")
class BottomUpTsv(DetectorTsv):
    """Bottom-up attention's features; ViLBERT's for Conceptual Captions also have `cls_prob`.

    Source: bottom-up-attention `tools/generate_tsv.py`, vilbert_beta `script/`.
    """

    columns = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features", "cls_prob")
    optional = 1


def _other_format(count: int, given: type[DetectorTsv]) -> str:
    for name, store in REGION_STORES.items():
        if store is not given and issubclass(store, DetectorTsv) and count == len(store.columns):
            return f'. Is it a "{name}"?'
    return '. Is it an "oscar_tsv"?' if count in (2, 3) else ""
