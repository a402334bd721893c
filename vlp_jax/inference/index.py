"""An index of a folder of pictures: each is encoded once, and found by a text from then on."""

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from vlp_jax.data.images import decode, resize
from vlp_jax.data.paths import existing_path, local_path
from vlp_jax.inference.images import PICTURE_ENDINGS, names_picture
from vlp_jax.inference.index_file import Kept, Stamp, read_index, write_index
from vlp_jax.inference.model import Model
from vlp_jax.inference.results import FoundPicture
from vlp_jax.training.checksums import checksums

FILE = ".vlp_jax_index.safetensors"
"""The index of a folder, in it, where no other place is given."""

_BLOCK = 512  # pictures between two savings


class ImageIndex:
    """The pictures of a folder, at any depth, with the contrastive vectors that a model gives them.

    Vectors are kept in a file (`FILE` in the folder, or `path`), and are those of one model: a
    picture whose size or time of change is another one, and all pictures for another model, are
    encoded again. Making an index reads no picture; `update` encodes what is missing.

    Raises ValueError for a model without the contrastive head or that reads regions, for a folder
    without pictures and for a damaged index; FileNotFoundError for no folder.
    Attributes: `folder`, `path`; `unreadable`, why each picture that was tried is left out;
    `removed`, pictures of the file that are gone; `other_model`, whether another one made the file.
    """

    def __init__(self, model: Model, folder: str | Path, path: str | Path | None = None):
        model.check_verb("encode_image")
        if model.inputs.reads_regions:
            raise ValueError("an index is of pictures, and this model reads region features")
        self._model = model
        self.folder = existing_path(folder, "the folder of pictures")
        self.path = self.folder / FILE if path is None else local_path(path, "the index")
        self._stamps = picture_stamps(self.folder)
        self.unreadable: dict[str, str] = {}
        made_by = fingerprint(model)
        kept = read_index(self.path) or Kept(made_by)
        self.other_model = kept.model != made_by
        self.removed = sorted(kept.stamps.keys() - self._stamps.keys())
        self._kept = Kept(made_by) if self.other_model else _still_true(kept, self._stamps)
        self._unsaved = bool(self.removed)

    def __len__(self) -> int:
        """The number of pictures that can be found."""
        return len(self._kept.vectors)

    @property
    def stale(self) -> list[str]:
        """The pictures, by their paths in the folder, that `update` is going to encode."""
        known = self._kept.vectors.keys() | self.unreadable.keys()
        return [name for name in self._stamps if name not in known]

    @property
    def reranks(self) -> bool:
        """Whether the model has a matching head, which `search` then asks about the best."""
        return self._model.has_matching_head

    @property
    def seconds(self) -> float:
        """About how long a picture takes to read and encode, from the fastest block so far."""
        return self._kept.seconds

    def update(self, report: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Encodes the pictures that are new or changed and saves the index every 512 of them.

        What can't be read is skipped, see `unreadable`. `report` is told how many are done, and of
        how many. ValueError, before anything is encoded, where the index can't be written.
        """
        stale = self.stale
        if stale or self._unsaved:
            check_writable(self.path)
        for start in range(0, len(stale), _BLOCK):
            block = stale[start : start + _BLOCK]
            self._encode(block)
            self._save()
            report(start + len(block), len(stale))
        if self._unsaved:
            self._save()

    def search(self, text: str, top: int = 5, rerank: int = 16) -> list[FoundPicture]:
        """Returns the best pictures for a text, as `Model.retrieve` ranks them, after `update`.

        The `rerank` best are read again and scored by the matching head, if the model has one.
        """
        self.update()
        if not self._kept.vectors:
            why = next(iter(self.unreadable.values()))
            raise ValueError(f"no picture of {self.folder} can be read; the first: {why}")
        names = [name for name in self._stamps if name in self._kept.vectors]
        paths = [self.folder / name for name in names]
        vectors = np.stack([self._kept.vectors[name] for name in names])
        found = self._model.retrieve(text, paths, top, rerank, vectors=vectors)
        return [FoundPicture(paths[x.index], x.score) for x in found]

    def _encode(self, names: Sequence[str]) -> None:
        began = time.perf_counter()
        read = partial(_pixels, size=self._model.inputs.size)
        with ThreadPoolExecutor() as pool:
            made = dict(zip(names, pool.map(read, (self.folder / name for name in names))))
        self.unreadable |= {name: x for name, x in made.items() if isinstance(x, str)}
        shown = {name: x for name, x in made.items() if name not in self.unreadable}
        if not shown:
            return
        kept, vectors = self._kept, self._model.encode_image(np.stack(list(shown.values())))
        kept.vectors |= dict(zip(shown, vectors))
        kept.stamps |= {name: self._stamps[name] for name in shown}
        kept.seconds = min(kept.seconds, (time.perf_counter() - began) / len(shown))

    def _save(self) -> None:
        if self._kept.vectors:
            write_index(self.path, self._kept)
        self._unsaved = False


def fingerprint(model: Model) -> str:
    """Returns a digest of what the vector of a picture depends on: parts, weights and sizes."""
    config = model.config
    facts = (
        dataclasses.asdict(config.model),
        config.data.image_size,
        config.training.dtype,
        checksums(model.params),
    )
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def picture_stamps(folder: Path) -> dict[str, Stamp]:
    """Returns path in the folder -> stamp of all files whose names end as pictures' do, sorted.

    Hidden files and folders are passed over. ValueError for a file or a folder without pictures.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is a file; expected a folder of pictures")
    stamps = {}
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            if names_picture(file) and not file.startswith("."):
                path = os.path.join(place, file)
                stamps[os.path.relpath(path, folder)] = _stamp(path)
    if not stamps:
        endings = ", ".join(PICTURE_ENDINGS)
        raise ValueError(f"{folder} holds no pictures: expected files that end in {endings}")
    return dict(sorted(stamps.items()))


def _raise(error: OSError) -> None:
    raise error


def _stamp(path: str) -> Stamp:
    """Returns the stamp of a file; of a link to nothing one that no file has."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return (-1, 0)
    return (status.st_size, status.st_mtime_ns)


def check_writable(path: Path) -> None:
    """Raises ValueError where a file can't be made beside `path`."""
    probe = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(
            f"the index {path} cannot be written ({error.strerror}): give another path for it, in "
            "a folder that is there and can be written"
        ) from None


def _still_true(kept: Kept, stamps: dict[str, Stamp]) -> Kept:
    """Returns what is kept of pictures that are as they were."""
    same = {name: stamp for name, stamp in kept.stamps.items() if stamps.get(name) == stamp}
    return Kept(kept.model, same, {name: kept.vectors[name] for name in same}, kept.seconds)


def _pixels(path: Path, size: int) -> np.ndarray | str:
    """Returns uint8 [size, size, 3] of a picture, or why it can't be read."""
    try:
        return resize(decode(path), size)
    except (ValueError, OSError) as error:
        return str(error)
