"""Store "oscar_tsv": OSCAR's and VinVL's features, with tags from a second TSV file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.json_text import parse_json
from vlp_jax.data.paths import existing_path
from vlp_jax.data.regions.base64_arrays import decode_array
from vlp_jax.data.regions.build import unit_corners
from vlp_jax.data.regions.regions import Rules
from vlp_jax.data.regions.store import REGION_STORES, RegionStore, nearest_key
from vlp_jax.data.regions.tsv_file import TsvFile

_BOX_NUMBERS = 6  # a feature ends in x1, y1, x2, y2, width, height as shares of the picture


@dataclass(frozen=True)
class OscarRules(Rules):
    """The rules of all stores, and where the tags of the regions are."""

    labels: str | Path | None = None


@REGION_STORES.register("oscar_tsv")
class OscarTsv(RegionStore):
    """`features.tsv`: key, number of boxes and base64 features; or key and JSON with these two.

    The last six of a feature's numbers (2,048 + 6) are its box and become `boxes`, because the
    model appends them itself. labels: `label.tsv` or `predictions.tsv`, key and JSON list of
    {"class", "conf"} or {"objects": list, "image_w", "image_h"}, which gives names, confidence and
    the picture's size. Source: Oscar `oscar/run_captioning.py`, `oscar/datasets/oscar_tsv.py`.
    """

    options = OscarRules

    def __init__(self, path: str | Path, /, **rules: Any):
        super().__init__(path, **rules)
        labels = self.rules.labels
        self._file = TsvFile(self.path)
        self._keys = self._file.keys
        self._labels = TsvFile(existing_path(labels, "labels")) if labels else None
        self._label_rows = {k: row for row, k in enumerate(self._labels.keys)} if labels else {}
        self._probe()

    def _read(self, row: int) -> dict[str, Any]:
        count, text = _count_and_text(self._file.columns(row))
        rows = decode_array("features", text, "<f4", count)
        if rows.ndim != 2 or rows.shape[1] <= _BOX_NUMBERS:
            raise ValueError(f"features have shape {list(rows.shape)}, expected 2,048 + 6 numbers")
        try:
            unit_corners(boxes := rows[:, -_BOX_NUMBERS:])
        except ValueError as error:
            raise ValueError(f"the last six numbers of the features: {error}") from None
        fields = {"features": rows[:, :-_BOX_NUMBERS], "unit_boxes": boxes, "num_boxes": count}
        if self._labels is not None:
            fields |= self._labelled(self._keys[row])
        return fields

    def _labelled(self, key: str) -> dict[str, Any]:
        if key not in self._label_rows:
            raise ValueError(
                f"{self._labels.path} has no such picture.{nearest_key(key, self._labels.keys)}"
            )
        columns = self._labels.columns(self._label_rows[key])
        content = _parse(f"{self._labels.path}", columns[-1])
        found = content.get("objects") if isinstance(content, dict) else content
        if not isinstance(found, list) or not all(isinstance(o, dict) for o in found):
            raise ValueError(f"{self._labels.path}: expected a list of objects with a class")
        fields: dict[str, Any] = {"names": [str(o.get("class", "")) for o in found]}
        if all("conf" in o for o in found):
            fields["confidence"] = np.array([o["conf"] for o in found], np.float32)
        if isinstance(content, dict) and {"image_w", "image_h"} <= content.keys():
            fields |= {"image_w": content["image_w"], "image_h": content["image_h"]}
        return fields


def _count_and_text(columns: list[memoryview]) -> tuple[int, memoryview | str]:
    """Returns the number of boxes and the base64 text of either form of a line."""
    if len(columns) == 3 and bytes(columns[1]).isdigit():
        return int(bytes(columns[1])), columns[2]
    if len(columns) != 2:
        raise ValueError(
            f"the line has {len(columns)} columns, expected key, number of boxes and features, or "
            "key and JSON"
        )
    content = _parse("features", columns[1])
    if not isinstance(content, dict) or not {"num_boxes", "features"} <= content.keys():
        raise ValueError('the JSON of the features has no "num_boxes" and "features"')
    count, text = content["num_boxes"], content["features"]
    if type(count) is not int or not isinstance(text, str):
        raise ValueError(f"num_boxes is {count!r:.40}, features are a {type(text).__name__}")
    return count, text


def _parse(what: str, text: memoryview) -> Any:
    return parse_json(text, what)
