"""The entries of ALBEF-format JSON files, checked one by one and kept as columns."""

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.config import nearest
from vlp_jax.data.buckets import is_bucket
from vlp_jax.data.foreign import listed, shortened
from vlp_jax.data.paths import absolute, existing_file, existing_path, is_address
from vlp_jax.data.sources.base import stable_digest
from vlp_jax.data.sources.json_values import read_values
from vlp_jax.data.sources.nested_texts import valid_text
from vlp_jax.data.sources.text_columns import TextColumn, TextLists
from vlp_jax.data.vqa_targets import share_targets

_KNOWN_KEYS = ("image", "caption", "image_id", "question", "answer")
_SHARED_KEYS = ("caption", "question", "answer")  # all entries have one, or none has
_OTHER_NAMES = {"answers": "answer", "label": "answer"}
_NAMES_OF_ANSWERS = frozenset(_OTHER_NAMES)
_MOST_INT32 = 2**31 - 1
_TEXT = 1 << 63  # set in the identity of an image that is no number


class Entries:
    """N entries as columns, to which entries are added.

    keys: the image as the file has it, which need not be a path for sources that look it up
    elsewhere. captions, questions, answers: one an entry, or none at all. scores: of each answer.
    annotators: how many an entry's answers come from, 0 where scores were given.
    skipped: the hash in [0, 1) of the image of each entry that can't be used, and why.
    """

    def __init__(self):
        self.keys = TextColumn()
        self.captions = TextLists()
        self.questions = TextColumn()
        self.answers = TextLists()
        self.scores = array("d")
        self.annotators = array("I")
        self.skipped: list[tuple[float, str]] = []
        self._pictures = array("Q")
        self._identities = array("Q")
        self._places = array("Q")
        self._roots: list[tuple[int, str]] = []  # first entry, folder

    def __len__(self) -> int:
        return len(self.keys)

    def start_file(self, root: Path) -> None:
        """Says what the relative paths of the entries to come start from."""
        self._roots.append((len(self), str(root)))

    def append(
        self,
        image: str,
        identity: Any,
        captions: list,
        question: str,
        answers: dict,
        annotators: int,
    ):
        """Adds a checked entry; `identity` is a number or text, or None for the image's path."""
        image = image if image.isascii() else valid_text(image)
        self.keys.append(image)
        place = _place(image, identity)
        self._places.append(place)
        picture = stable_digest(_joined(self._roots[-1][1], image))
        self._pictures.append(picture)
        if isinstance(identity, int):
            self._identities.append(identity)
        else:
            self._identities.append(_TEXT | (picture if identity is None else place))
        if captions:
            self.captions.append(captions)
        if question:
            self.questions.append(question)
            self.answers.append(answers)
            self.scores.extend(answers.values())
            self.annotators.append(annotators)

    def image(self, index: int) -> str:
        """Returns the absolute path of an entry's picture."""
        root = next(root for start, root in reversed(self._roots) if start <= index)
        return _joined(root, self.keys[index])

    def answer_scores(self, index: int) -> dict[str, float]:
        """Returns answer → score of an entry."""
        return {self.answers.texts[at]: self.scores[at] for at in self.answers.span(index)}

    def identities(self) -> np.ndarray:
        """Returns what is equal for entries of one image, uint64 [N]: given numbers, or hashes."""
        return np.frombuffer(self._identities, np.uint64)

    def check_identities(self, paths: str) -> None:
        """Raises ValueError for a picture that different entries call different images."""
        pictures, identities = np.frombuffer(self._pictures, np.uint64), self.identities()
        order = np.argsort(pictures, kind="stable")
        same, ids = np.diff(pictures[order]) == 0, identities[order]
        wrong = np.flatnonzero(same & (ids[1:] != ids[:-1]))
        if len(wrong):
            image = self.keys[int(order[wrong[0]])]
            raise ValueError(
                f'{paths}: "{shortened(image)}" has another "image_id" in a later entry '
                f"({len(wrong)} such entries): it says which entries show one picture, and is no "
                "number of the entry"
            )

    def places(self) -> np.ndarray:
        """Returns a hash in [0, 1) of each image, as the file names it, float64 [N]."""
        return np.frombuffer(self._places, np.uint64) / 2**64


def _place(image: str, identity: Any) -> int:
    """Returns 64 bits that decide in which split an image is."""
    return stable_digest(image if identity is None else str(identity))


def are_numbers(identities: np.ndarray) -> bool:
    """Tells whether all identities are numbers that the file gives."""
    return not len(identities) or int(identities.max()) < _TEXT


def read_entries(paths: str, image_root: str | None) -> Entries:
    """Returns the entries of comma-separated JSON files.

    Raises FileNotFoundError for a missing file and ValueError for a malformed one.
    """
    entries, keys = Entries(), _SharedKeys()
    for path in filter(None, (part.strip() for part in paths.split(","))):
        file = existing_file(path, "JSON file", buckets=True)
        root = file.parent
        if image_root:
            root = existing_path(image_root, "image_root", buckets=True)
        entries.start_file(absolute(root))
        for index, raw in enumerate(read_values(file)):
            try:
                raw = _with_known_names(raw)
                keys.add(file, index, raw)
                fields = _checked(raw)
            except ValueError as error:
                raise ValueError(f"{file} entry {index}: {error}") from None
            if "caption" in raw and not fields[2]:
                place = _place(*fields[:2]) / 2**64
                entries.skipped.append((place, f"{file} entry {index}: empty caption"))
            else:
                entries.append(*fields)
    keys.check()
    if not len(entries):
        count = len(entries.skipped)
        reason = f"all {count} have an empty caption" if count else "the list is empty"
        raise ValueError(f"{paths}: no entries to use, {reason}")
    entries.check_identities(paths)
    return entries


class _SharedKeys:
    """Counts the entries that lack a key, because all must have one that any of them has."""

    def __init__(self):
        self._count = 0
        self._lacking = dict.fromkeys(_SHARED_KEYS, 0)
        self._first: dict[str, tuple[str, list[str]]] = {}
        self._places: dict[str, list[str]] = {key: [] for key in _SHARED_KEYS}

    def add(self, file: Path, index: int, raw: dict[str, Any]) -> None:
        """Counts one entry."""
        self._count += 1
        for key in _SHARED_KEYS:
            if key not in raw:
                self._lacking[key] += 1
                if self._lacking[key] == 1:
                    self._first[key] = f"{file} entry {index}", list(raw)
                elif self._lacking[key] <= 5:
                    self._places[key].append(str(index))

    def check(self) -> None:
        """Raises ValueError if some entries lack a key, or if there is nothing to learn from."""
        asked = min(self._lacking["question"], self._lacking["answer"]) < self._count
        shared = [key for key in _SHARED_KEYS if self._lacking[key] < self._count]
        wanted = dict.fromkeys([*shared, *(("question", "answer") if asked else ())])
        for key in wanted or (("caption",) if self._count else ()):
            if lacking := self._lacking[key]:
                where, found = self._first[key]
                raise ValueError(
                    f'{self._others(key, lacking)}{where}: key "{key}" is missing; found keys '
                    f"{_hint(key, found)}"
                )

    def _others(self, key: str, lacking: int) -> str:
        """Returns how many and which entries lack a key, or nothing if all do."""
        if lacking == self._count:
            return ""
        further = lacking - 1 - len(self._places[key])
        more = f"; also entries {', '.join(self._places[key])}" if self._places[key] else ""
        more += f" and {further} more" if further else ""
        count = "1 entry has" if lacking == 1 else f"{lacking} entries have"
        return f'of {self._count} entries {count} no "{key}"{more}. The first of them, '


def _hint(key: str, found: list[str]) -> str:
    similar = nearest(key, (k for k in found if k not in _KNOWN_KEYS))
    return f"[{listed(sorted(found), 20)}].{similar.replace('Did you mean', 'Rename')}"


def _with_known_names(raw: Any) -> dict[str, Any]:
    """Calls "answers" and LXMERT's "label" what the others call "answer"."""
    if not isinstance(raw, dict):
        raise ValueError(f"expected an object with keys, found {type(raw).__name__}")
    if _NAMES_OF_ANSWERS.isdisjoint(raw):
        return raw
    renamed = {_OTHER_NAMES.get(key, key): value for key, value in raw.items()}
    if len(renamed) < len(raw):
        given = [key for key in raw if _OTHER_NAMES.get(key, key) == "answer"]
        raise ValueError(f"{' and '.join(given)} mean the same; expected one of them")
    return renamed


def _checked(raw: dict[str, Any]) -> tuple[str, Any, list[str], str, dict[str, float], int]:
    """Returns image, identity, captions, question, answers and annotators of an entry."""
    if "image" not in raw:
        raise ValueError(f'key "image" is missing; found keys {_hint("image", list(raw))}')
    image = _text("image", raw["image"])
    if not image:
        raise ValueError('"image" is empty; expected a path')
    identity = _identity(raw["image_id"]) if "image_id" in raw else None
    captions = _captions(raw["caption"]) if "caption" in raw else []
    if "question" not in raw and "answer" not in raw:
        return image, identity, captions, "", {}, 0
    question = _text("question", raw["question"]) if "question" in raw else ""
    if not question and "question" in raw:
        raise ValueError('"question" is empty')
    answers, annotators = _answers(raw["answer"]) if "answer" in raw else ({}, 0)
    return image, identity, captions, question, answers, annotators


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'"{key}" is {value!r:.80}; expected text')
    return value.strip()


def _identity(value: Any) -> str | int:
    if isinstance(value, str):
        return valid_text(value)
    if type(value) is not int or not 0 <= value <= _MOST_INT32:
        raise ValueError(
            f'"image_id" is {value!r:.80}; expected text or a whole number from 0 to {_MOST_INT32}'
        )
    return value


def _captions(value: Any) -> list[str]:
    """Returns the non-empty captions of a text or a list of texts."""
    if isinstance(value, list):
        return [text for given in value if (text := _text("caption", given))]
    text = _text("caption", value)
    return [text] if text else []


def _answers(value: Any) -> tuple[dict[str, float], int]:
    """Returns answer → score in (0, 1], and the number of annotators.

    A list has one answer for each annotator, and an answer's score is its share of them. A text
    counts as it is, and given scores as they are, with 0 annotators.
    """
    annotators = len(value) if isinstance(value, list) else 0
    if isinstance(value, dict):
        for answer, score in value.items():
            number = isinstance(score, int | float) and not isinstance(score, bool)
            if not number or not 0 <= score <= 1:
                raise ValueError(f'answer "{answer:.80}" has score {score!r:.80}; expected 0 to 1')
        scores = {valid_text(_text("answer", a)): float(score) for a, score in value.items()}
    else:
        values = value if isinstance(value, list) else [value]
        texts = [valid_text(_text("answer", answer)) for answer in values]
        scores = share_targets(texts) if texts else {}
    if not scores or "" in scores:
        raise ValueError(f'"answer" is {value!r:.80}; expected at least one non-empty answer')
    return scores, annotators


def _joined(root: str, image: str) -> str:
    """Returns an image's path; addresses stay, and are refused where pictures are read."""
    if image.startswith("/") or is_address(image):
        path = image
    else:
        path = f"{root}/{image}"
    if is_bucket(path):
        kind, rest = path.split("://", 1)
        return f"{kind}://{_plain(rest)}"
    return _plain(path)


def _plain(path: str) -> str:
    return str(Path(path)) if "//" in path or "/." in path else path
