"""Source "json": your own pictures with captions or questions, in ALBEF's JSON list format."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from vlp_jax.data.sources.base import (
    SOURCES,
    Record,
    check_index,
    stable_fraction,
)
from vlp_jax.data.sources.json_entries import Entry, read_entries
from vlp_jax.data.sources.splits import check_holdout, check_request, held_out_mask


@SOURCES.register("json")
class JsonPairs:
    """One record an entry of a JSON list of {"image", "caption", "question", "answer"}.

    "image" is required, and either "caption" (text or list), or "question" and "answer" (text,
    list, or answer → score), or all; every entry has the same ones. Optional "image_id" (whole
    number or text) says which entries show the same image; default: the image's path.
    Entries without a non-empty caption are left out and listed in `skipped`. Pictures are given
    as paths; a missing or corrupt one shows when it is decoded.

    path: one or several JSON files, comma separated. image_root: what relative image paths start
    from; default: the folder of the JSON file. holdout: share of images kept for "validation"
    and "test", which are one set; an image is never in two sets; 0 trains on all.
    validation_path: JSON files to use as that set instead, then all of `path` is for training.
    seed: taken because every source takes one; a hash of the image's identity decides the set.
    """

    attribution = "User-supplied data."

    def __init__(
        self,
        split: str = "train",
        path: str | None = None,
        seed: int = 0,
        image_root: str | None = None,
        holdout: float = 0.05,
        validation_path: str | None = None,
        **unknown,
    ):
        expected = "one or several JSON files, comma separated"
        check_request(self, "json", split, path, expected, unknown)
        self._train, self.skipped = read_entries(path, image_root)
        if validation_path:
            held_out, skipped = read_entries(validation_path, image_root)
            self.skipped += skipped
        else:
            self._train, held_out = _split_by_image(self._train, check_holdout(holdout))
        self._entries = self._train if split == "train" else held_out
        if not self._entries:
            raise ValueError(
                f"{path}: split {split!r} is empty, because all entries show one image or none is "
                "held out. Give more images, `holdout` or `validation_path`"
            )
        self._by_image = _questions_by_image(self._entries)
        self._image_ids = _number_images([*self._train, *held_out])
        self.provides = _provided(self._train[0] if self._train else held_out[0])

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Record:
        entry = self._entries[check_index(index, len(self))]
        record: Record = {"image": entry.image, "image_id": self._image_ids[entry.identity]}
        if entry.captions:
            record["captions"] = list(entry.captions)
        if entry.question is not None:
            record |= _question(entry)
            others = self._by_image.get(entry.identity, ())
            record["more_questions"] = [_question(e) for e in others if e is not entry]
        return record

    def image_keys(self) -> list[str]:
        """Returns the "image" of every record of this split, as the file has it."""
        return [entry.key for entry in self._entries]

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of the training entries, sorted."""
        return tuple(sorted({answer for entry in self._train for answer in entry.answers}))

    def texts(self) -> Iterator[str]:
        """Yields the captions and questions of the training entries."""
        for entry in self._train:
            yield from entry.captions
            if entry.question is not None:
                yield entry.question


def _question(entry: Entry) -> Record:
    return {"question": entry.question, "answers": dict(entry.answers)}


def _questions_by_image(entries: list[Entry]) -> dict[Any, list[Entry]]:
    """Returns the entries with a question, by the image they show."""
    found: dict[Any, list[Entry]] = {}
    for entry in entries:
        if entry.question is not None:
            found.setdefault(entry.identity, []).append(entry)
    return found


def _provided(entry: Entry) -> frozenset[str]:
    captions = {"caption"} if entry.captions else set()
    questions = {"question", "more_questions"} if entry.question is not None else set()
    return frozenset({"image"} | captions | questions)


def _split_by_image(entries: list[Entry], holdout: float) -> tuple[list[Entry], list[Entry]]:
    """Splits by a hash of the image; at least one image is held out, and one is not.

    Adding entries never moves an image from one set to the other, except for that guarantee.
    """
    places = np.array([stable_fraction(entry.written) for entry in entries])
    held_out = held_out_mask(places, holdout).tolist()
    return (
        [entry for entry, held in zip(entries, held_out) if not held],
        [entry for entry, held in zip(entries, held_out) if held],
    )


def _number_images(entries: list[Entry]) -> dict[Any, int]:
    """Returns the image_id of each identity: the given numbers, or 0, 1, ... as they appear."""
    identities = dict.fromkeys(entry.identity for entry in entries)
    if all(isinstance(identity, int) for identity in identities):
        return {identity: identity for identity in identities}
    return dict(zip(identities, itertools.count()))
