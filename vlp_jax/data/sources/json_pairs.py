"""Source "json": your own pictures with captions or questions, in ALBEF's JSON list format."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vlp_jax.data.sources.base import SOURCES, Record, Source, check_index
from vlp_jax.data.sources.by_image import ImageGroups
from vlp_jax.data.sources.json_entries import Entries, are_numbers, read_entries
from vlp_jax.data.sources.splits import SPLITS, check_holdout, check_request, held_out_mask


@SOURCES.register("json")
@dataclass(eq=False)
class JsonPairs(Source):
    """One record an entry of a JSON list of {"image", "caption", "question", "answer"}.

    "image" is required, and either "caption" (text or list), or "question" and "answer" (text,
    list, or answer → score), or all; every entry has the same ones. Optional "image_id" (whole
    number or text) says which entries show the same image; default: the image's path.
    Entries without a non-empty caption are left out and listed in `skipped` of their split.
    Pictures are given as paths; a missing or corrupt one shows when it is decoded. Entries are
    kept as columns of bytes, and records are made when they are asked for.

    path: one or several JSON files, comma separated; lists, or one object a line. image_root: what
    relative image paths start from; default: the folder of the JSON file. holdout: share of images
    kept for "validation" and "test", which are one set; an image is never in two sets; 0 trains on
    all. validation_path: JSON files to use as that set instead, then all of `path` is for training.
    A hash of the image's identity decides the set, not the seed.
    """

    image_root: str | None = None
    holdout: float = 0.05
    validation_path: str | None = None

    split_names = SPLITS

    def __post_init__(self):
        super().__post_init__()
        check_request("json", self.split, self.path, "one or several JSON files, comma separated")
        held_out = training = read_entries(self.path, self.image_root)
        rows = split_by_image(training.places(), check_holdout(self.holdout))
        last = training.places()[rows[1]].max(initial=self.holdout or -1)
        if self.validation_path:
            held_out = read_entries(self.validation_path, self.image_root)
            rows = np.arange(len(training)), np.arange(len(held_out))
        self._training, self._train_rows = training, rows[0]
        here = 0 if self.split == "train" else 1
        self._entries, self._rows = (training, held_out)[here], rows[here]
        self.skipped = [
            reason
            for place, reason in self._entries.skipped
            if self.validation_path or (place <= last) == bool(here)
        ]
        if not len(self._rows):
            raise ValueError(
                f"{self.path}: split {self.split!r} is empty, because all entries show one image "
                "or none is held out. Give more images, `holdout` or `validation_path`"
            )
        self.provides = _provided(training)
        if _provided(held_out) != self.provides:
            raise ValueError(
                f"the entries of {self.validation_path} have {_listed(held_out)}, and those of "
                f"{self.path} {_listed(training)}; expected the same of both"
            )
        ids = number_images(training.identities()[rows[0]], held_out.identities()[rows[1]])
        self._ids = ids[here]
        asked = "question" in self.provides
        self._same_image = ImageGroups.of(self._ids) if asked else None

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        index = check_index(index, len(self))
        row = int(self._rows[index])
        record: Record = {"image": self._entries.image(row), "image_id": int(self._ids[index])}
        if "caption" in self.provides:
            record["captions"] = self._entries.captions[row]
        if self._same_image is not None:
            same = self._same_image.rows(self._same_image.number[index])
            record |= self._question(index)
            record["more_questions"] = [self._question(other) for other in same if other != index]
        return record

    def _question(self, index: int) -> Record:
        row = int(self._rows[index])
        answers, annotators = self._entries.answer_scores(row), self._entries.annotators[row]
        asked: Record = {"question": self._entries.questions[row], "answers": answers}
        return asked | ({"annotators": annotators} if annotators else {})

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]."""
        return self._ids

    def image_key(self, index: int) -> str:
        """Returns the "image" of a record, as the file has it."""
        return self._entries.keys[int(self._rows[index])]

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of the training entries, sorted."""
        if "question" not in self.provides:
            return ()
        rows, answers = map(int, self._train_rows), self._training.answers
        return tuple(sorted({answer for row in rows for answer in answers[row]}))

    def texts(self) -> Iterator[str]:
        """Yields the captions and questions of the training entries."""
        columns = self._training
        for row in map(int, self._train_rows):
            if len(columns.captions):
                yield from columns.captions[row]
            if len(columns.questions):
                yield columns.questions[row]


def _provided(entries: Entries) -> frozenset[str]:
    """Returns what the entries have; all have the same, because `read_entries` checks it."""
    captions = {"caption"} if len(entries.captions) else set()
    questions = {"question", "more_questions"} if len(entries.questions) else set()
    return frozenset({"image"} | captions | questions)


def _listed(entries: Entries) -> str:
    return " and ".join(sorted(_provided(entries) & {"caption", "question"}))


def split_by_image(places: np.ndarray, holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows for training and those held out, by the hash in [0, 1) of their image.

    At least one image is held out, and one is not. Adding entries never moves an image from one
    set to the other, except for that guarantee.
    """
    held_out = held_out_mask(places, holdout)
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def number_images(training: np.ndarray, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the image_id of each identity, int64: given numbers, or 0, 1, … as they appear."""
    identities = np.concatenate([training, held_out])
    if are_numbers(identities):
        numbers = identities.astype(np.int64)
    else:
        numbers = ImageGroups.of(identities).number
    return numbers[: len(training)], numbers[len(training) :]
