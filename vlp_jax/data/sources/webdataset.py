"""Source "webdataset": picture-text pairs in tar shards, as img2dataset writes them."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    Source,
    check_index,
    stable_fraction,
    usable_texts,
)
from vlp_jax.data.sources.columns import number_texts
from vlp_jax.data.sources.shard_files import ShardFiles
from vlp_jax.data.sources.shard_paths import expand_shards
from vlp_jax.data.sources.shard_table import CaptionMember, join_shards
from vlp_jax.data.sources.splits import SPLITS, check_holdout, check_request, held_out_mask

_LOG = logging.getLogger(__name__)


@SOURCES.register("webdataset")
@dataclass(eq=False)
class WebDataset(Source):
    """One record a sample: the files of a tar shard that share a name up to the first dot.

    Samples are read directly, in any order, by an index of each shard that is built when the
    shard is first opened and kept beside it (see `tar_index`). Samples without a picture or
    without a caption file, and the rest of damaged shards, are left out and listed in `skipped`;
    a corrupt picture, or that no caption file has a caption, shows when the record is read.

    path: shards, such as `cc3m/{00000..00331}.tar::sbu` (see `expand_shards`). images: the file
    extensions of pictures, comma separated, the first one found counts. captions: where captions
    are, comma separated; `txt` is the file with that extension, `json:alt.en` a key in the json
    file; all those present are captions of the picture. caption_lines: every line of a text file
    is a caption of its own. image_id: where a sample names its image, as for `captions`, in data
    with a sample a caption (`json:url` of img2dataset's COCO); all samples are looked into at the
    start, and one that names none is of an image of its own. holdout: share of samples kept for
    "validation" and "test", which are one set, chosen by a hash of the sample's name, or of its
    image; 0 trains on all. validation_path: shards to use as that set instead.
    """

    split_names = SPLITS
    provides = frozenset({"image", "caption"})

    images: str = "jpg,jpeg,png,webp"
    captions: str = "txt"
    caption_lines: bool = False
    image_id: str | None = None
    holdout: float = 0.01
    validation_path: str | None = None

    def __post_init__(self):
        super().__post_init__()
        expected = 'shards, such as "shards/{00000..00331}.tar"'
        check_request("webdataset", self.split, self.path, expected)
        self._caption_members = [
            CaptionMember.parse(text, self.caption_lines)
            for text in _listed("captions", self.captions)
        ]
        shards = expand_shards(self.path)
        held_out_shards = expand_shards(self.validation_path) if self.validation_path else []
        named = CaptionMember.parse(self.image_id, lines=False) if self.image_id else None
        self._table, self.skipped = join_shards(
            [*shards, *held_out_shards],
            _listed("images", self.images),
            [member.extension for member in self._caption_members],
            [named.extension] if named else [],
        )
        self._files = ShardFiles(self._table.paths)
        places, self._numbers = self._table.places, np.arange(len(self._table.places))
        if named:
            names = self._image_names(named)
            places = np.array([stable_fraction(name) for name in names], np.float64)
            self._numbers = number_texts(names)
        if self.validation_path:
            held_out = self._table.shard_numbers() >= len(shards)
        else:
            held_out = held_out_mask(places, check_holdout(self.holdout))
        self._train_rows = np.flatnonzero(~held_out)
        self._rows = self._train_rows if self.split == "train" else np.flatnonzero(held_out)
        if not len(self._rows):
            raise ValueError(
                f"{self.path}: split {self.split!r} is empty (of {len(held_out)} samples). "
                "Give more samples, `holdout` or `validation_path`"
            )
        if self.skipped:
            _LOG.warning("%s: %d left out, first %s", self.path, len(self.skipped), self.skipped[0])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        row = int(self._rows[check_index(index, len(self))])
        image = self._files.read(*self._table.image_span(row))
        return {
            "image": image,
            "image_id": int(self._numbers[row]),
            "captions": self._captions(row),
            "name": self._table.name(row),
        }

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]."""
        return self._numbers[self._rows]

    def _image_names(self, member: CaptionMember) -> list[str]:
        """Returns how each sample calls its image; ValueError if none does."""
        names, problems = [], []
        for row in range(len(self._table.places)):
            span = self._table.text_spans(row)[-1]
            try:
                if span is None:
                    raise ValueError(f"there is no {member.extension}")
                found = member.read(self._files.read(*span), numbers=True)
                if not found:
                    raise ValueError("it is empty")
                names.append(found[0])
            except ValueError as error:
                problems.append(f"{self._table.name(row)}: {error}")
                names.append(f"sample {row}")
        if problems:
            what = f'image_id = "{self.image_id}": {len(problems)} samples name no image'
            if len(problems) == len(names):
                raise ValueError(f"{what}, the first is {problems[0]}")
            _LOG.warning("%s, and count as one each; the first is %s", what, problems[0])
        return names

    def texts(self) -> Iterator[str]:
        """Yields the captions of the training samples; samples without any are passed over."""
        return usable_texts(self._captions, self._train_rows.tolist())

    def _captions(self, row: int) -> list[str]:
        """Returns the captions in all members that have some; ValueError if none has."""
        captions, problems = [], []
        for member, span in zip(self._caption_members, self._table.text_spans(row)):
            if span is not None:
                data = self._files.read(*span)
                try:
                    captions += member.read(data)
                except ValueError as error:
                    problems.append(str(error))
        if not captions:
            problem = "; ".join(problems) or "the caption is empty"
            raise ValueError(f"{self._table.name(row)}: {problem}")
        return captions


def _listed(option: str, value: str) -> list[str]:
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    if not all(parts) or not parts:
        raise ValueError(f'{option} is {value!r}; expected names joined by commas, as in "txt"')
    return parts
