"""Source "annotated": the published files of a task, with pictures or with detector features."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.config.ranges import Share
from vlp_jax.data.answer_lists import read_answers
from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.paths import existing_file, existing_path
from vlp_jax.data.picture_ids import read_ids
from vlp_jax.data.proposals import read_proposals
from vlp_jax.data.sources.base import SOURCES, Record, Source, check_index
from vlp_jax.data.sources.region_records import contents_of
from vlp_jax.data.sources.task_files import FORMS, Entry, Form, TaskFiles
from vlp_jax.data.sources.text_columns import TextColumn

_USUAL = {"validation": "val"}


@SOURCES.register("annotated")
@dataclass(eq=False)
class Annotated(Source):
    """The examples of a published task, from the files of its authors (docs/finetuning.md).

    form: a name in FORMS. path: the file, `{split}` standing for what the files call the split;
    several such names are joined by commas. splits: this package's name of a split → theirs.
    beside: the second file that some forms have. images: folder of the pictures; or store, features
    and store_args as for source "regions". key: how a picture is called in either, from its facts,
    as in "COCO_train2014_{id:012d}". answer_list: file with the answers in the order of the head.
    proposals: file with a detector's boxes for the id of each picture (`read_proposals`).
    candidates: features of the annotated boxes among which some forms choose, as `features`.
    exclude: files with ids of pictures that are left out of the training split (`read_ids`).
    answer_weight: score of the one answer that some forms have of a question, in the training
    split. listed: leaves questions out of it whose answers are all missing in answer_list.

    Entries whose picture has no regions, or no proposals, are left out and listed in `skipped`.
    """

    form: str = ""
    beside: str | None = None
    splits: dict[str, str] | None = None
    images: str | None = None
    key: str | None = None
    store: str | None = None
    features: str | None = None
    store_args: dict[str, Any] | None = None
    answer_list: str | None = None
    proposals: str | None = None
    candidates: str | None = None
    exclude: tuple[str, ...] = ()
    answer_weight: Share = 1.0
    listed: bool = False

    def __post_init__(self):
        super().__post_init__()
        self._form: Form = FORMS.get_known(self.form, "source annotated: form")
        self._check_options()
        self._store = self._opened(self.features) if self.store else None
        self._candidates = self._opened(self.candidates) if self.candidates else None
        train = self.split == "train"
        self._excluded = read_ids(self.exclude) if train else frozenset()
        self._listed = frozenset(self.answers()) if self.listed and train else None
        self._root = existing_path(self.images, "folder of pictures") if self.images else None
        self._detected = read_proposals(self.proposals) if self.proposals else None
        self._proposed: dict[str, np.ndarray] = {}
        self._entries, self._keys = TextColumn(), []
        self._usual: Counter = Counter()
        self.skipped = []
        for files in self._files(self.split):
            self._read(files)
        if not self._keys:
            why = f": {self.skipped[0]}" if self.skipped else ""
            raise ValueError(f"{self.path}: split {self.split!r} has no usable entries{why}")
        pictures = contents_of(self._store) if self._store else {"image"}
        proposed = {"proposals"} if self.proposals else set()
        self.provides = self._form.provides | pictures | proposed
        unique = dict.fromkeys(key for keys in self._keys for key in keys)
        self._numbers = {key: number for number, key in enumerate(unique)}

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Record:
        record = self.annotation(index)
        pictures = [self._picture(key) for key in self._keys[index]]
        if "pictures" in self._form.provides:
            return record | {"pictures": pictures, "image_id": pictures[0]["image_id"]}
        if self._candidates is not None:
            _check_candidates(pictures[0]["candidates"], record)
        return record | pictures[0]

    def annotation(self, index: int) -> Record:
        """Returns a record without its pictures."""
        record = json.loads(self._entries[check_index(index, len(self))])
        if self._detected is None:
            return record
        return record | {"proposals": self._proposed[self._keys[index][0]]}

    def _picture(self, key: str) -> Record:
        number = {"image_id": self._numbers[key]}
        if self._store is None:
            return number | {"image": str(self._root / key.lstrip("/"))}
        shown = number | self._store[key].to_record()
        if self._candidates is None:
            return shown
        return shown | {"candidates": self._candidates[key].to_record()}

    def image_ids(self) -> np.ndarray:
        """Returns the "image_id" of every record, int64 [N]; of several pictures, the first's."""
        return np.array([self._numbers[keys[0]] for keys in self._keys], np.int64)

    def answers(self) -> tuple[str, ...]:
        """Returns the answers of `answer_list` in its order, or those that occur often, sorted."""
        if self.answer_list:
            return read_answers(self.answer_list)
        return tuple(sorted(a for a, n in self._usual.items() if n >= self._form.least))

    def texts(self) -> Iterator[str]:
        """Yields the captions, questions and choices of the split."""
        for index in range(len(self)):
            record = self.annotation(index)
            yield from (*record.get("captions", ()), *record.get("choices", ()))
            if "question" in record:
                yield record["question"]

    def _check_options(self) -> None:
        if not self.path:
            raise ValueError(f'source annotated needs `path`, the file of the form "{self.form}"')
        if "{split}" not in self.path and not self._form.own_splits:
            raise ValueError(
                f'path is "{self.path}", in which "{{split}}" has to stand for the name of the '
                f"split: a file of the form {self.form} holds one split"
            )
        if self._form.needs_beside and not self.beside:
            raise ValueError(f"the form {self.form} needs `beside`: {self._form.beside}")
        if self.answer_weight != 1 and not self._form.one_answer:
            raise ValueError(
                f"answer_weight = {self.answer_weight} is for forms in which a question has one "
                f"answer, and {self.form} is none: leave it out"
            )
        if self.listed and not self.answer_list:
            raise ValueError("listed = True needs `answer_list`, the answers that are known")
        if self.beside and not self._form.beside:
            raise ValueError(
                f'the form {self.form} has no second file; `beside` is "{self.beside}"'
            )
        if bool(self.images) == bool(self.store and self.features):
            raise ValueError(
                "source annotated needs either `images`, a folder, or `store` and `features` "
                "(docs/regions.md)"
            )
        if ("candidates" in self._form.provides) != bool(self.candidates and self.store):
            needs = "needs `store` and" if "candidates" in self._form.provides else "has no"
            raise ValueError(
                f"the form {self.form} {needs} `candidates`, features of the boxes to choose from"
            )

    def _opened(self, path: str) -> Any:
        # The stores use the checks of this package, so they can't be imported before it is.
        from vlp_jax.data.regions import open_regions  # noqa: PLC0415

        parts = (path.replace("{split}", name) for name in self._theirs(self.split))
        features = ",".join(dict.fromkeys(parts))
        return open_regions(self.store, features, **(self.store_args or {}))

    def _theirs(self, split: str) -> list[str]:
        """Returns what the files call a split; several names are of its parts."""
        named = (self.splits or {}).get(split) or _USUAL.get(split, split)
        return [name.strip() for name in named.split(",")]

    def _files(self, split: str) -> Iterator[TaskFiles]:
        for name in self._theirs(split):
            beside = self.beside and self.beside.replace("{split}", name)
            path = existing_file(self.path.replace("{split}", name), f"{self.form} file")
            # The second file of questions has the answers, which a test split lacks.
            optional = beside and split == "test" and not self._form.needs_beside
            if optional and not Path(beside).exists():
                beside = None
            second = existing_file(beside, self._form.beside) if beside else None
            yield TaskFiles(path, second, name, split == "train")

    def _read(self, files: TaskFiles) -> None:
        count = 0
        try:
            with foreign_bytes():
                for count, entry in enumerate(self._form.read(files), 1):
                    self._add(entry, files.split)
        except ValueError as error:
            raise ValueError(
                f'{files.path}, read as "{self.form}", after {count} entries: {error}'
            ) from None

    def _add(self, entry: Entry, split: str) -> None:
        pictures, answers = entry.pop("pictures"), entry.get("answers", {})
        if self._listed is not None and self._listed.isdisjoint(answers):
            return
        if answers and self.split == "train" and self.answer_weight != 1:
            entry["answers"] = {a: score * self.answer_weight for a, score in answers.items()}
        if any(str(facts["id"]) in self._excluded for facts in pictures):
            return
        keys = tuple(self._key(facts | {"split": split}) for facts in pictures)
        usual = entry.pop("usual", None) or next(iter(answers), None)
        stores = [store for store in (self._store, self._candidates) if store is not None]
        missing = [key for key in keys for store in stores if key not in store]
        if missing:
            self.skipped.append(f'no regions of the picture "{missing[0]}"')
            return
        if self._detected is not None:
            name = str(pictures[0]["id"])
            if name not in self._detected:
                self.skipped.append(f'no proposals for the picture "{name}"')
                return
            self._proposed[keys[0]] = self._detected[name]
        if usual is not None:
            self._usual[usual] += 1
        self._entries.append(json.dumps(entry, ensure_ascii=False))
        self._keys.append(keys)

    def _key(self, facts: Mapping[str, Any]) -> str:
        pattern = self.key or self._form.key
        try:
            return pattern.format_map(facts)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(
                f'key = "{pattern}" cannot be made of the picture {dict(facts)}: {error}'
            ) from None


def _check_candidates(given: Record, record: Record) -> None:
    """Raises ValueError if not each annotated box of a picture has features."""
    if len(given["boxes"]) != record["candidate_count"]:
        raise ValueError(
            f"`candidates` has {len(given['boxes'])} boxes of the picture, and "
            f"{record['candidate_count']} are annotated"
        )
