"""Regions as users hold them, and as batch fields: chosen, encoded and padded as in training."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.batch import stack
from vlp_jax.data.foreign import foreign_bytes, listed, shortened
from vlp_jax.data.paths import existing_path, read_file
from vlp_jax.data.region_fields import RegionFields, RegionReader
from vlp_jax.data.regions import JoinedStores, Regions, RegionStore, Rules, open_regions
from vlp_jax.data.regions.build import build_regions
from vlp_jax.data.regions.checks import check_regions
from vlp_jax.data.regions.npz import read_npz
from vlp_jax.data.regions.rows import choose_rows
from vlp_jax.data.transforms import Example

SLOTS = (16, 36, 64, 100, 144, 200, 306)
"""Padded numbers of regions."""

_SINGLE = (".npz", ".npy")  # files of one picture
_STORES = {
    ".tsv": ("lxmert_tsv", "butd_tsv", "oscar_tsv"),
    ".h5": ("hdf5",),
    ".hdf5": ("hdf5",),
    ".lmdb": ("uniter_lmdb", "vilbert_lmdb"),
    ".mdb": ("uniter_lmdb", "vilbert_lmdb"),
    ".array_record": ("array_record",),
    ".arrayrecord": ("array_record",),
}
"""The ending of a file -> the stores that may read it."""
_FOLDERS = ("npz", "uniter_lmdb", "vilbert_lmdb")
_EXPECTED = "expected `Regions`, a (store, key) pair, the path of a file with one picture's regions"

Store = RegionStore | JoinedStores


def as_regions(given: Any, name: str = "regions") -> list[Regions]:
    """Returns the regions of one picture or of several.

    A picture is a `Regions` value, a pair of a store (or the path of one) and a key, or a path that
    holds one picture; a pair with a list of keys, and a list, are several. ValueError otherwise.
    """
    if isinstance(given, Regions):
        with foreign_bytes(name):
            check_regions(given, None)
        return [given]
    if isinstance(given, str | Path):
        return [only_picture(given)]
    if _is_pair(given):
        return _of_keys(*given)
    if isinstance(given, Sequence) and given:
        return [r for i, one in enumerate(given) for r in as_regions(one, f"{name}[{i}]")]
    raise ValueError(f"{name} is {type(given).__name__}, {_EXPECTED}, or a list of these")


def _is_pair(given: Any) -> bool:
    if not isinstance(given, tuple) or len(given) != 2:
        return False
    store, key = given
    keys = isinstance(key, str | int) or isinstance(key, list) and all(type(k) is str for k in key)
    return isinstance(store, str | Path | RegionStore | JoinedStores) and keys


def _of_keys(store: Any, keys: Any) -> list[Regions]:
    store = open_features(store) if isinstance(store, str | Path) else store
    return [store[str(key)] for key in (keys if isinstance(keys, list) else [keys])]


def only_picture(path: str | Path, kind: str = "") -> Regions:
    """Returns the regions of a file with one picture: an .npz or .npy, or a store of one.

    `kind` and errors are those of `open_features`; ValueError for several pictures.
    """
    file = existing_path(path, "region features")
    if not kind and file.suffix in _SINGLE:
        data = read_file(file, "region features")
        with foreign_bytes(f"{file}"):
            return build_regions(read_npz(data, True), Rules(), None)
    store = open_features(file, kind)
    keys = store.keys()
    if len(keys) != 1:
        raise ValueError(
            f'{path} holds {len(keys)} pictures ({listed(keys, 3)}): give ("{path}", key)'
        )
    return store[keys[0]]


def open_features(path: str | Path, kind: str = "", **rules: Any) -> Store:
    """Returns the store in a file or folder; without a `kind`, the first that can read it.

    Raises FileNotFoundError or ValueError, which says what each that was tried found wrong.
    """
    if kind:
        return open_regions(kind, str(path), **rules)
    file = existing_path(path, "region features")
    if file.suffix in _SINGLE:
        raise ValueError(f"{path} holds the regions of one picture: give it without a key")
    problems = []
    kinds = _FOLDERS if file.is_dir() else _STORES.get(file.suffix.lower(), ())
    for name in kinds:
        try:
            return open_regions(name, str(file), **rules)
        except (ValueError, OSError) as error:
            problems.append(f"{name}: {shortened(str(error), 200)}")
    known = ", ".join([*_SINGLE, *_STORES])
    reason = "; ".join(problems) or f"its ending is none of {known}"
    raise ValueError(f"{path} is no file of region features: {reason}")


def region_fields(
    pictures: Sequence[Regions], global_region: bool, feature_width: int
) -> dict[str, np.ndarray]:
    """Returns the batch fields `region_features`, `region_boxes` and `region_mask` of pictures.

    With `global_region` one for the whole picture stands before the others (ViLBERT). Boxes have
    seven numbers where any picture's file holds the sizes of its boxes.
    Raises ValueError for features of another width than the model reads.
    """
    for i, regions in enumerate(pictures):
        width = regions.features.shape[1]
        if width != feature_width:
            raise ValueError(
                f"the region features of picture {i} are {width} wide and the model reads "
                f"{feature_width}: they are of another detector"
            )
    sized = any(regions.box_sizes is not None for regions in pictures)
    records = [(_with_sizes(r) if sized else r).to_record() for r in pictures]
    slots = padded_slots(pictures)
    read, pad = RegionReader(slots), RegionFields(slots, global_region)
    return stack([_fields(record, read, pad) for record in records])


def padded_slots(pictures: Sequence[Regions]) -> int:
    """Returns to how many regions those of pictures are padded."""
    most = max(map(len, pictures))
    return next((count for count in SLOTS if count >= most), most)


def _fields(record: dict[str, Any], read: RegionReader, pad: RegionFields) -> dict[str, np.ndarray]:
    example = Example(record, None)
    example["regions"] = read.of_detector(record, frozenset())
    return pad(example, None)


def chosen(regions: Regions, rules: Rules) -> Regions:
    """Returns the regions that a model is shown; without confidence it can't be a matter of it."""
    if regions.confidence is None:
        rules = dataclasses.replace(rules, min_confidence=None)
    return choose_rows(regions, rules)


def _with_sizes(regions: Regions) -> Regions:
    if regions.box_sizes is not None:
        return regions
    size = np.array([regions.width, regions.height], np.float32)
    return dataclasses.replace(
        regions, box_sizes=(regions.boxes[:, 2:] - regions.boxes[:, :2]) / size
    )


def pixel_box(regions: Regions, row: int) -> tuple[float, ...]:
    """Returns x1, y1, x2, y2 of a region; as far from its first corner as the file's sizes say."""
    box = regions.boxes[row].astype(np.float64)
    if regions.box_sizes is not None:
        box[2:] = box[:2] + regions.box_sizes[row] * np.array([regions.width, regions.height])
    return tuple(map(float, box))
