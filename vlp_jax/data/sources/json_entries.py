"""Reads and validates the entries of ALBEF-format JSON files; every error says where it is."""

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from vlp_jax.config import nearest
from vlp_jax.data.sources.base import existing_path
from vlp_jax.data.sources.nested_texts import valid_text

_KNOWN_KEYS = ("image", "caption", "image_id", "question", "answer")
_OTHER_NAMES = {"answers": "answer", "label": "answer"}
_MOST_INT32 = 2**31 - 1


class Entry(NamedTuple):
    """One validated entry: absolute image path, what identifies the image, and its texts.

    `written` identifies the image as the file does, so it stays when the folder moves.
    `captions` is empty and `question` None where the file has no captions or no questions. `key` is
    the image as the file has it, which need not be a path for sources that look it up elsewhere.
    """

    image: str
    identity: str | int
    written: str
    captions: tuple[str, ...]
    question: str | None
    answers: dict[str, float]
    key: str = ""


def read_entries(paths: str, image_root: str | None) -> tuple[list[Entry], list[str]]:
    """Returns the entries of comma-separated JSON files, and which were skipped and why.

    Raises FileNotFoundError for a missing file and ValueError for a malformed one.
    """
    entries: list[Entry] = []
    skipped: list[str] = []
    required: tuple[str, ...] | None = None
    for path in filter(None, (part.strip() for part in paths.split(","))):
        file = existing_path(path, "JSON file")
        root = existing_path(image_root, "image_root") if image_root else file.parent
        for index, raw in enumerate(_read_list(file)):
            where = f"{file} entry {index}"
            raw = _with_known_names(where, raw)
            required = required or _required_keys(where, raw)
            entry = _validate(where, raw, required, root.absolute())
            if "caption" in required and not entry.captions:
                skipped.append(f"{where}: empty caption")
            else:
                entries.append(entry)
    if not entries:
        reason = f"all {len(skipped)} have an empty caption" if skipped else "the list is empty"
        raise ValueError(f"{paths}: no entries to use, {reason}")
    return entries, skipped


def _read_list(file: Path) -> list[Any]:
    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        if twice:
            raise ValueError(f'{file}: key "{twice[0]}" appears twice in {str(pairs)[:200]}')
        return dict(pairs)

    try:
        content = json.loads(file.read_text("utf-8"), object_pairs_hook=refuse_duplicates)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(content, list):
        kind = type(content).__name__
        raise ValueError(f'{file}: expected a list of {{"image", "caption"}} objects, found {kind}')
    return content


def _with_known_names(where: str, raw: Any) -> Any:
    """Calls "answers" and LXMERT's "label" what the others call "answer"."""
    if not isinstance(raw, dict) or not _OTHER_NAMES.keys() & raw.keys():
        return raw
    renamed = {_OTHER_NAMES.get(key, key): value for key, value in raw.items()}
    if len(renamed) < len(raw):
        given = [key for key in raw if _OTHER_NAMES.get(key, key) == "answer"]
        raise ValueError(f"{where}: {' and '.join(given)} mean the same; expected one of them")
    return renamed


def _required_keys(where: str, raw: Any) -> tuple[str, ...]:
    """Returns the keys that every entry must have, as the first entry shows them."""
    _check_object(where, raw)
    asked = {"question", "answer"} & raw.keys()
    if "caption" not in raw and not asked:
        _missing(where, raw, "caption")
    captioned = ("caption",) if "caption" in raw else ()
    return ("image", *captioned, *(("question", "answer") if asked else ()))


def _validate(where: str, raw: Any, required: tuple[str, ...], root: Path) -> Entry:
    _check_object(where, raw)
    for key in required:
        if key not in raw:
            _missing(where, raw, key)
    image = _text(where, "image", raw["image"])
    if not image:
        raise ValueError(f'{where}: "image" is empty; expected a path')
    asked = "question" in required
    question = _text(where, "question", raw["question"]) if asked else None
    if question == "":
        raise ValueError(f'{where}: "question" is empty')
    return Entry(
        image=str(root / image),
        identity=_identity(where, raw.get("image_id", str(root / image))),
        written=valid_text(str(raw.get("image_id", image))),
        captions=_captions(where, raw["caption"]) if "caption" in required else (),
        question=question,
        answers=_answers(where, raw["answer"]) if asked else {},
        key=image,
    )


def _check_object(where: str, raw: Any) -> None:
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: expected an object with keys, found {type(raw).__name__}")


def _missing(where: str, raw: dict[str, Any], key: str) -> None:
    similar = nearest(key, (k for k in raw if k not in _KNOWN_KEYS))
    hint = similar.replace("Did you mean", "Rename")
    raise ValueError(f'{where}: key "{key}" is missing; found keys {sorted(raw)}.{hint}')


def _text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f'{where}: "{key}" is {value!r}; expected text')
    return valid_text(value).strip()


def _identity(where: str, value: Any) -> str | int:
    number = isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, str) and not (number and 0 <= value <= _MOST_INT32):
        raise ValueError(
            f'{where}: "image_id" is {value!r}; expected text or a whole number from 0 to '
            f"{_MOST_INT32}"
        )
    return valid_text(value) if isinstance(value, str) else value


def _captions(where: str, value: Any) -> tuple[str, ...]:
    """Returns the non-empty captions of a text or a list of texts."""
    values = value if isinstance(value, list) else [value]
    return tuple(filter(None, (_text(where, "caption", text) for text in values)))


def _answers(where: str, value: Any) -> dict[str, float]:
    """Returns answer → score in (0, 1]; of a list, each answer scores its share (as in ALBEF)."""
    if isinstance(value, dict):
        for answer, score in value.items():
            number = isinstance(score, int | float) and not isinstance(score, bool)
            if not number or not 0 <= score <= 1:
                raise ValueError(f'{where}: answer "{answer}" has score {score!r}; expected 0 to 1')
        scores = {_text(where, "answer", a): float(score) for a, score in value.items()}
    else:
        values = value if isinstance(value, list) else [value]
        texts = [_text(where, "answer", answer) for answer in values]
        scores = {answer: n / len(texts) for answer, n in Counter(texts).items()}
    if not scores or "" in scores:
        raise ValueError(f'{where}: "answer" is {value!r}; expected at least one non-empty answer')
    return scores
