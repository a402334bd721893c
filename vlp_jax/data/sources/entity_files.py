"""The files of Flickr30k Entities: sentences whose phrases are marked, and the boxes of a picture.

Source: Plummer et al. 2015, https://arxiv.org/abs/1505.04870; github.com/BryanPlummer/
flickr30k_entities.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vlp_jax.data.foreign import foreign_bytes, shortened
from vlp_jax.data.paths import read_file

Boxes = dict[str, list[list[float]]]
_OPENING = "[/EN#"
_PHRASE = re.compile(r"\[/EN#(\d+)(?:/[^\s/\[\]]+)+ ([^\[\]]*[^\[\]\s])\s*\]")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_sentences(file: Path) -> list[tuple[str, list[dict[str, Any]]]]:
    """Returns the sentences of a picture, each as its text and the phrases in it, in order.

    A phrase has "entity", the number of what it names, and "end", how many characters of the text
    there are up to its end. ValueError, with the line, for a mark that is not "[/EN#id/type words]"
    and for a file without sentences.
    """
    with foreign_bytes(str(file)):
        lines = read_file(file, "sentences").decode().splitlines()
        found = [_sentence(line.strip(), n) for n, line in enumerate(lines, 1) if line.strip()]
        if not found:
            raise ValueError("there are no sentences")
    return found


def _sentence(line: str, number: int) -> tuple[str, list[dict[str, Any]]]:
    text, phrases, start = "", [], 0
    for mark in _PHRASE.finditer(line):
        text += line[start : mark.start()] + mark[2]
        phrases.append({"entity": mark[1], "end": len(text)})
        start = mark.end()
    text += line[start:]
    if _OPENING in text:
        found = text[text.index(_OPENING) :]
        raise ValueError(
            f'line {number}: "{shortened(found, 60)}", expected phrases as "[/EN#id/type words]"'
        )
    return text, phrases


def read_entity_boxes(file: Path) -> Boxes:
    """Returns the number of each entity that has boxes → its boxes, as shares of the picture.

    A box is x1, y1, x2, y2. Pixels count from 1 in the file and are divided by the picture's size
    as they are, as VisualBERT reads them. Entities that are marked as without a box or as the whole
    scene are left out. ValueError, which names the file, for anything that is no such annotation;
    one with a document type, in which entities of XML could be declared, is not parsed.
    """
    with foreign_bytes(str(file)):
        root = _parsed(read_file(file, "boxes of a picture").decode())
        size = [_number(root.find("size"), name) for name in ("width", "height")]
        if min(size) <= 0:
            raise ValueError(f"the picture is {size[0]:g} × {size[1]:g} pixels large")
        boxes: Boxes = {}
        for thing in root.iterfind("object"):
            own = [_box(corners, size) for corners in thing.iterfind("bndbox")]
            for name in _names(thing) if own else ():
                boxes.setdefault(name, []).extend(own)
    return boxes


def _parsed(text: str) -> ElementTree.Element:
    # A text is parsed as it is, whatever encoding it says that it has: none can hide behind one.
    if "<!DOCTYPE" in text:
        raise ValueError("the XML has a document type (<!DOCTYPE …>), which is not read")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"not valid XML: {error}") from None


def _names(thing: ElementTree.Element) -> Iterator[str]:
    """Yields the numbers of the entities that an object is; several may share one."""
    names = [(name.text or "").strip() for name in thing.iterfind("name")]
    if not names or not all(map(str.isdigit, names)):
        raise ValueError(f"an object is called {names}, expected numbers of entities")
    yield from dict.fromkeys(names)


def _box(corners: ElementTree.Element, size: list[float]) -> list[float]:
    box = [_number(corners, name) for name in _CORNERS]
    if box[0] > box[2] or box[1] > box[3]:
        raise ValueError(f"the box {box} is reversed, expected {', '.join(_CORNERS)}")
    return [value / extent for value, extent in zip(box, size * 2)]


def _number(parent: ElementTree.Element | None, name: str) -> float:
    text = None if parent is None else parent.findtext(name)
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        found = "missing" if text is None else f'"{shortened(text, 40)}"'
        raise ValueError(f"<{name}> is {found}, expected a number")
    return value
