"""Finds the regions of pictures and writes them as a file that stores read."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlp_jax.config import Registry
from vlp_jax.data.json_text import read_object
from vlp_jax.data.paths import existing_path, path_to_write
from vlp_jax.data.regions import Regions
from vlp_jax.data.regions.growing_folders import Hdf5Groups, NpzPictures
from vlp_jax.data.regions.lxmert_file import LxmertLines, check_key
from vlp_jax.data.regions.record_folder import RecordFolder
from vlp_jax.data.sources.base import Source
from vlp_jax.data.sources.found_regions import region_key
from vlp_jax.inference.detector import Detector
from vlp_jax.inference.index import picture_stamps

# Batches that are read together, so that pictures of one shape meet.
_BATCHES = 8

# What writes a file or folder that grows, by the store that reads it.
_GROWN = Registry("store of found regions")
_GROWN.update(lxmert_tsv=LxmertLines, array_record=RecordFolder, npz=NpzPictures, hdf5=Hdf5Groups)
# The store where none is named, by the ending; all but the first are folders, without one.
_BY_ENDING = {".tsv": "lxmert_tsv", "": "array_record"}
_ENDINGS = {store: ending for ending, store in _BY_ENDING.items()}


@dataclass(frozen=True)
class Written:
    """What became of the pictures.

    written, before: how many this call has added, and how many were there from an earlier one.
    problems: why the others have no regions.
    """

    written: int
    before: int
    problems: tuple[str, ...]


def write_regions(
    detector: Detector,
    pictures: Mapping[str, Any],
    file: str | Path,
    store: str = "",
    progress: Callable[[int], None] = lambda done: None,
    show: Callable[[str, Regions], None] = lambda key, found: None,
) -> Written:
    """Adds the regions of pictures that a file or folder lacks.

    pictures: key -> picture, as a detector takes it. store: what shall read it, by default
    "lxmert_tsv" for the ending .tsv and "array_record" for none, a folder; "npz" and "hdf5" are
    folders, too. `FILE.json` keeps what made the regions; a file that something else made is a
    ValueError. A call that was cut short is completed by the same call. `show` gets what is written
    of each picture.
    """
    file, store = region_file(file, store)
    _check_made_with(file, detector.made_with | {"store": store})
    count, problems = 0, []
    with contextlib.closing(_GROWN[store](file)) as grown:
        left = [key for key in pictures if key not in grown.keys]
        for key, found in _attempted(detector, pictures, left):
            if isinstance(found, Regions):
                grown.add(key, found)
                show(key, found)
                count += 1
            else:
                problems.append(str(found))
            progress(len(grown.keys) + count + len(problems))
    return Written(count, len(grown.keys), tuple(problems))


def region_file(path: str | Path, store: str = "") -> tuple[Path, str]:
    """Returns where regions can be written, and for which store; ValueError where they cannot."""
    file = path_to_write(path, "the file of regions")
    store = store or _BY_ENDING.get(file.suffix, "")
    if store:
        _GROWN.get_known(store)
    ending = _ENDINGS.get(store, "")
    if not store or file.suffix != ending:
        folders = ", ".join(f'"{name}"' for name in _GROWN if not _ENDINGS.get(name))
        raise ValueError(
            f'"{file}" ends in {file.suffix or "nothing"}: expected .tsv for the store '
            f'"lxmert_tsv", or no ending for a folder, of the store {folders}'
        )
    if file.exists() and file.is_file() != bool(ending):
        wanted = "file" if ending else "folder"
        raise ValueError(f"the {wanted} of regions {file} is no {wanted}; give another name")
    return file, store


def pictures_in(folder: str | Path) -> dict[str, Path]:
    """Returns the pictures of a folder and of those in it by their names without ending, sorted.

    Hidden ones are passed over. Raises ValueError if there are none, or two of one name.
    """
    folder = existing_path(folder, "folder of pictures")
    found: dict[str, Path] = {}
    for path in map(folder.joinpath, picture_stamps(folder)):
        if path.stem in found:
            raise ValueError(f'{found[path.stem]} and {path} have one name, "{path.stem}"')
        check_key(path.stem)
        found[path.stem] = path
    return found


class PicturesOf(Mapping[str, Any]):
    """The pictures of splits of a source, under the keys that source "found_regions" reads."""

    def __init__(self, splits: Mapping[str, Source]):
        self._places = {
            region_key(split, identity): (source, row)
            for split, source in splits.items()
            for row, identity in enumerate(source.image_ids())
        }

    def __getitem__(self, key: str) -> Any:
        source, row = self._places[key]
        return source[row]["image"]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _attempted(
    detector: Detector, pictures: Mapping[str, Any], keys: Sequence[str]
) -> Iterator[tuple[str, Regions | Exception]]:
    step = _BATCHES * detector.batch
    for start in range(0, len(keys), step):
        some = keys[start : start + step]
        yield from detector.attempt({key: pictures[key] for key in some}).items()


def _check_made_with(file: Path, made_with: Mapping[str, Any]) -> None:
    """Keeps how a file is made beside it; raises ValueError if it was made otherwise."""
    beside = file.with_name(f"{file.name}.json")
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(made_with, indent=1))
        return
    known = read_object(beside) if beside.is_file() else {}
    known.setdefault("store", _BY_ENDING[file.suffix])  # older files do not say
    for name, value in made_with.items():
        if known.get(name) != value:
            raise ValueError(
                f"{file} was made with {name} = {known.get(name)!r}, and not {value!r}: choose "
                "another file"
            )
