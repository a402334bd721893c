"""Joins the indices of many WebDataset shards into one table of the samples that can be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlp_jax.data.foreign import foreign_bytes, listed, shortened
from vlp_jax.data.json_text import parse_json
from vlp_jax.data.sources.nested_texts import texts_at
from vlp_jax.data.sources.tar_index import TarIndex, open_indices

Span = tuple[int, int, int]
"""Shard number, byte offset, length."""


@dataclass(frozen=True)
class CaptionMember:
    """Which file of a sample holds captions, and where in it they are.

    keys: dotted path in a JSON file, or None for a text file. lines: one caption a line.
    """

    extension: str
    keys: str | None
    lines: bool

    @classmethod
    def parse(cls, text: str, lines: bool) -> "CaptionMember":
        """Returns what `txt` or `json:alt.en` describes."""
        extension, colon, keys = text.partition(":")
        if not extension or bool(colon) != bool(keys):
            raise ValueError(f'captions: "{text}" is not like "txt" or "json:caption"')
        if extension == "json" and not keys:
            raise ValueError('captions: "json" needs a key, as in "json:caption"')
        return cls(extension.lower(), keys or None, lines)

    def read(self, data: bytes, numbers: bool = False) -> list[str]:
        """Returns the non-empty captions in a file's content; ValueError if it has no such key.

        numbers: whole numbers are texts as well, as those that name images are.
        """
        with foreign_bytes(f"{self.extension} cannot be read"):
            if self.keys is not None:
                return texts_at(parse_json(data, "the file"), self.keys, numbers)
            text = data.decode("utf-8-sig")
        captions = text.splitlines() if self.lines else [text]
        return [caption.strip() for caption in captions if caption.strip()]


@dataclass(frozen=True)
class ShardTable:
    """N samples of many shards: names, hashes and where their picture and captions are.

    keys: bytes [N of the shard] each. starts: int64 [shards], row of each shard's first sample.
    places: float64 [N]. images: int64 [N, 2] offset and length. texts: int64 [N, C, 2] those of
    files with captions and what else was asked for, -1 in the place of files that a sample lacks.
    """

    paths: list[Path]
    keys: list[np.ndarray]
    starts: np.ndarray
    places: np.ndarray
    images: np.ndarray
    texts: np.ndarray

    def shard_of(self, row: int) -> int:
        """Returns the number of the shard that holds a sample."""
        return int(np.searchsorted(self.starts, row, side="right")) - 1

    def shard_numbers(self) -> np.ndarray:
        """Returns the shard number of every sample, int64 [N]."""
        return np.repeat(np.arange(len(self.keys)), [len(keys) for keys in self.keys])

    def name(self, row: int) -> str:
        """Returns how messages call a sample: its shard and its key."""
        shard = self.shard_of(row)
        key = self.keys[shard][row - self.starts[shard]].decode("utf-8", "replace")
        return f"{self.paths[shard]} sample {key}"

    def image_span(self, row: int) -> Span:
        """Returns where the picture of a sample is."""
        return self.shard_of(row), *map(int, self.images[row])

    def text_spans(self, row: int) -> list[Span | None]:
        """Returns where the files with texts of a sample are, None for those it lacks."""
        shard = self.shard_of(row)
        spans = self.texts[row].tolist()
        return [None if offset < 0 else (shard, offset, length) for offset, length in spans]


def join_shards(
    shards: list[Path], images: list[str], captions: list[str], besides: Sequence[str] = ()
) -> tuple[ShardTable, list[str]]:
    """Returns the table of usable samples, and which samples and shards were left out and why.

    images, captions: extensions of files; a sample needs one of either. besides: those of further
    files with texts, which it may lack. ValueError if no sample can be used.
    """
    skipped: list[str] = []
    parts = []
    indices = open_indices(shards)
    for shard, index in zip(shards, indices, strict=True):
        if str(index.problem):
            skipped.append(f"{shard}: {index.problem}; {len(index.keys)} samples before are kept")
        parts.append(_usable(shard, index, images, captions, besides, skipped))
    sizes = [len(keys) for keys, *_ in parts]
    if not sum(sizes):
        raise ValueError(_nothing_usable(shards, indices, images, captions, skipped))
    keys, places, pictures, texts = zip(*parts)
    starts = np.cumsum([0, *sizes[:-1]])
    joined = map(np.concatenate, (places, pictures, texts))
    return ShardTable(list(shards), list(keys), starts, *joined), skipped


def _usable(
    shard: Path,
    index: TarIndex,
    images: list[str],
    captions: list[str],
    besides: Sequence[str],
    skipped: list[str],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns keys, places and spans of the samples that have a picture and a caption file."""
    pictures = np.full((len(index.keys), 2), -1, np.int64)
    for extension in reversed(images):
        spans = index.spans(extension.lower())
        pictures = np.where(spans[:, :1] >= 0, spans, pictures)
    texts = np.stack([index.spans(extension) for extension in (*captions, *besides)], 1)
    pictured, captioned = pictures[:, 0] >= 0, (texts[:, : len(captions), 0] >= 0).any(1)
    for row in np.flatnonzero(~(pictured & captioned)).tolist():
        lacks = f"caption file ({', '.join(captions)})"
        if not pictured[row]:
            lacks = f"image ({', '.join(images)})"
        skipped.append(f"{shard} sample {index.keys[row].decode()}: no {lacks}")
    rows = np.flatnonzero(pictured & captioned)
    return index.keys[rows], index.places[rows], pictures[rows], texts[rows]


def _nothing_usable(
    shards: list[Path],
    indices: list[TarIndex],
    images: list[str],
    captions: list[str],
    skipped: list[str],
) -> str:
    found = sorted({str(name) for index in indices for name in index.extensions})
    wanted = f"{' or '.join(images)} and {' or '.join(captions)}"
    first = f" The first of {len(skipped)} reasons: {shortened(skipped[0])}" if skipped else ""
    return (
        f"none of the samples in {shards[0]} and {len(shards) - 1} more shards can be used: "
        f"expected files {wanted}, found {listed(found) or 'none'}.{_dots(found, images)}{first}"
    )


def _dots(found: list[str], images: list[str]) -> str:
    """Returns a hint if names of pictures have dots before the one of their extension."""
    endings = tuple(f".{name.lower()}" for name in images)
    dotted = [name for name in found if name.endswith(endings)]
    if not dotted:
        return ""
    return (
        f' A sample\'s name ends at its first dot, so that "{shortened(dotted[0], 60)}" is taken '
        "for an extension; write names without further dots."
    )
