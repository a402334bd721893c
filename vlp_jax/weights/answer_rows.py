"""Rows of an answer head by the text of the answers, from a head that knows others (LXMERT)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from vlp_jax.weights.key_table import Entry

_LAST_LAYER = re.compile(r"^heads_(vqa|gqa)/output/")
_ARTICLES = ("a ", "an ", "the ")
_NUMBERS = "one two three four five six seven eight nine ten".split()
_SAME = {word: str(number) for number, word in enumerate(_NUMBERS, 1)} | {
    "grey": "gray",
    "a man": "man",
    "the man": "man",
    "a woman": "woman",
    "the woman": "woman",
}


def answer_rows(theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """Returns the place among `theirs` of each of `ours`, int [N]; -1 for one that is not there.

    Ours are looked for in the form in which LXMERT writes its answers: lower case, without a full
    stop and articles in front, small numbers as digits. Source: `src/pretrain/qa_answer_table.py`
    of airsplay/lxmert.
    """
    places = {answer: place for place, answer in enumerate(theirs)}
    return np.array([places.get(_rewritten(answer), -1) for answer in ours], np.int64)


def _rewritten(answer: str) -> str:
    answer = answer.lower()
    if answer.endswith("."):
        answer = answer[:-1].strip()
    for article in _ARTICLES:
        if answer.startswith(article):
            answer = answer.removeprefix(article).strip()
    return _SAME.get(answer, answer)


def by_answer(entries: Iterable[Entry], rows: np.ndarray, known: int) -> list[Entry]:
    """Returns entries whose last layer of the answer head is made of the rows given.

    rows: places in the file's head, int [N]; -1 stands for zeros. known: answers of that head.
    ValueError if no entry fills such a layer.
    """
    entries = list(entries)
    if not any(_LAST_LAYER.match(entry.ours[0]) for entry in entries):
        raise ValueError("answers are given, and these weights fill no head of answers")
    return [_picked(e, rows, known) if _LAST_LAYER.match(e.ours[0]) else e for e in entries]


def _picked(entry: Entry, rows: np.ndarray, known: int) -> Entry:
    as_theirs = lambda x: entry.to_published(np.zeros((*x.shape[:-1], known), x.dtype))
    pick = lambda x: np.where(rows < 0, 0, x[..., rows])
    return replace(
        entry,
        to_ours=lambda tensor: tuple(map(pick, entry.to_ours(tensor))),
        to_published=as_theirs,  # no way back: what is asked is the shape in the file
    )
