"""What a page can ask a model: a tab for each verb that fits it, and its answer to people."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from vlp_jax.cli.web.album import Album
from vlp_jax.data.foreign import shortened
from vlp_jax.data.images import decode
from vlp_jax.inference import Model
from vlp_jax.report.explanation import panels
from vlp_jax.report.plots import box_overlay

LONGEST = 500  # characters of a text
_ANSWERS = 5
_FOUND = 12  # pictures of a folder
_SIDE = 288  # of a picture that is shown

Chances = dict[str, float]
Captioned = list[tuple[Image.Image, str]]
Result = Chances | Captioned | str


@dataclass(frozen=True)
class Tab:
    """Something that a model can be asked.

    pictures: what each picture that is given is called. text: what the text is called, "" for none.
    result: "chances" (of each label), "pictures" (with a line each) or "text".
    ask: called with the model, the pictures as uint8 [H, W, 3] and the text; returns the result,
        and a line about it.
    """

    title: str
    hint: str
    pictures: tuple[str, ...]
    text: str
    result: Literal["chances", "pictures", "text"]
    ask: Callable[..., tuple[Result, str]]


def tabs_of(model: Model, album: Album | None = None) -> list[Tab]:
    """Returns what the model can be asked: about single pictures, and about those of an album.

    Raises ValueError for a model of regions without a detector, or that can be asked nothing.
    """
    if model.inputs.reads_regions and model.inputs.detector is None:
        raise ValueError(
            "the demo is given pictures, and this model reads region features: give the detector "
            "that finds them (--detector)"
        )
    tabs = [tab for verb, tab in _TABS.items() if not _misfit(model, verb)]
    if album is not None:
        model.check_verb("encode_image")
        tabs.insert(0, dataclasses.replace(_SEARCH, ask=partial(_search, album)))
    if not tabs:
        heads = ", ".join(model.module.heads) or "none"
        raise ValueError(f"the demo has nothing to ask this model; its heads: {heads}")
    return tabs


def answered(model: Model, tab: Tab, *given: str | None) -> tuple[Result | None, str]:
    """Returns a tab's result and a line about it; None, and what is wrong, for bad input.

    given: the path of each of the tab's pictures, then its text, if it has one.
    """
    try:
        pictures = [_picture(*pair) for pair in zip(given, tab.pictures)]
        texts = [_text(given[-1], tab.text)] if tab.text else []
        return tab.ask(model, *pictures, *texts)
    except (ValueError, OSError) as error:
        return None, str(error)


def left_out(model: Model) -> list[str]:
    """Returns a line for each tab that does not fit the model, with the reason."""
    reasons = ((tab.title, _misfit(model, verb)) for verb, tab in _TABS.items())
    return [f"{title}: {reason}" for title, reason in reasons if reason]


def _misfit(model: Model, verb: str) -> str:
    """Returns why a verb does not fit a model; "" where it does."""
    try:
        model.check_verb(verb)
    except ValueError as error:
        return str(error)
    if verb == "ground" and not model.inputs.reads_regions:
        return "this model chooses among boxes that are given, and the page has none"
    return ""


def _picture(path: str | None, called: str) -> np.ndarray:
    if not path:
        raise ValueError(f"{called}: none is given. Choose one first")
    return decode(Path(path).read_bytes(), f'"{shortened(Path(path).name, 60)}"')


def _text(text: str | None, called: str) -> str:
    if not (text and text.strip()):
        raise ValueError(f"{called}: nothing is written. Write one first")
    if len(text) > LONGEST:
        raise ValueError(
            f"{called}: {len(text):,} characters are given; the page takes at most {LONGEST}"
        )
    return text


def _search(album: Album, model: Model, text: str) -> tuple[Captioned, str]:
    index = album.index(model)
    found = index.search(text, _FOUND)
    pictures = [
        (_small(decode(x.path)), f"{x.path.relative_to(album.folder)} · {x.score:.2f}")
        for x in found
    ]
    score = "the probability that text and picture match" if index.reranks else "a similarity"
    left_out = f"; {len(index.unreadable):,} cannot be read" if index.unreadable else ""
    return pictures, f"The best of {len(index):,} pictures{left_out}. The number is {score}."


def _answers(model: Model, picture: np.ndarray, question: str) -> tuple[Chances, str]:
    best = model.answer(picture, question, top=_ANSWERS)
    return {x.text: x.probability for x in best}, f"Of {len(model.answers):,} answers it knows."


def _match(model: Model, picture: np.ndarray, text: str) -> tuple[Chances, str]:
    chance = float(model.match(picture, text)[0])
    return {"describes the picture": chance, "does not describe it": 1 - chance}, ""


def _entailment(model: Model, picture: np.ndarray, text: str) -> tuple[Chances, str]:
    return model.entail(picture, text).probabilities, ""


def _judgement(model: Model, left: np.ndarray, right: np.ndarray, text: str) -> tuple[Chances, str]:
    found = model.reason((left, right), text)
    return {str(found.true): found.probability, str(not found.true): 1 - found.probability}, ""


def _caption(model: Model, picture: np.ndarray) -> tuple[str, str]:
    (caption,) = model.caption(picture)
    return caption.text, ""


def _grounded(model: Model, picture: np.ndarray, text: str) -> tuple[Captioned, str]:
    found = model.ground(picture, text)
    box, sure = np.array([found.box]), f"{found.probability:.0%}"
    drawn = Image.fromarray(box_overlay(picture, box, np.ones(1), 2 * _SIDE, [sure]))
    return [(drawn, text)], f"The likeliest of {len(found.scores)} regions."


def _explanation(model: Model, picture: np.ndarray, text: str) -> tuple[Captioned, str]:
    found = model.explain(picture, text)
    maps = [(Image.fromarray(pixels), word) for word, pixels in panels(found, _SIDE)]
    whole = Image.fromarray(found.picture).resize(maps[0][0].size, Image.Resampling.BICUBIC)
    shown = [(whole, "the picture"), *maps]
    line = f"By {found.method}; each word's colours run from its least to its most."
    if found.probability is not None:
        line += f" Text and picture match with probability {found.probability:.2f}."
    return shown, line


def _small(pixels: np.ndarray) -> Image.Image:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_SIDE, _SIDE))
    return picture


_ONE = ("Picture",)
_SEARCH = Tab(
    "Search", "Finds the pictures of the folder that fit a text.", (), "Text", "pictures", _search
)
_TABS: Mapping[str, Tab] = {
    "answer": Tab("Ask", "Answers a question about a picture.", _ONE, "Question", "chances",
                  _answers),
    "match": Tab("Match", "Tells how probable it is that a text describes a picture.", _ONE,
                 "Text", "chances", _match),
    "entail": Tab("Entail", "Tells whether a picture entails a sentence.", _ONE, "Sentence",
                  "chances", _entailment),
    "reason": Tab("Compare", "Tells whether a sentence is true of two pictures.",
                  ("Left picture", "Right picture"), "Sentence", "chances", _judgement),
    "ground": Tab("Ground", "Shows the region of a picture that an expression means.", _ONE,
                  "Expression", "pictures", _grounded),
    "caption": Tab("Caption", "Describes a picture.", _ONE, "", "text", _caption),
    "explain": Tab("Explain", "Shows where the model looks for each word of a text.", _ONE, "Text",
                   "pictures", _explanation),
}  # fmt: skip
"""Verb -> the tab that asks it."""
