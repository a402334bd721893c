"""The values of a JSON list, or of JSON lines, one by one: a long file is never whole in memory."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.json_text import parse_json

_CHUNK = 2**22  # characters read at a time
_LONGEST = 2**26  # characters of one value, so that a broken file is not read to its end in vain
_SURELY = 2**16  # what is wrong so far from the end of a window is not mended by reading on
_LINES = (".jsonl", ".ndjson", ".jsonlines")
_SPACE = re.compile(r"[ \t\r\n]*")
_BETWEEN = re.compile(r"[ \t\r\n]*([,\]])[ \t\r\n]*")
_EXPECTED = 'expected a list of {"image", "caption"} objects, or one object a line'


def read_values(file: Path) -> Iterator[Any]:
    """Yields the values of a JSON list, or of JSON lines: one value a line.

    A file is of lines if its name says so (`.jsonl`, `.ndjson`) and it starts with no bracket, or
    if its first value is an object that another one follows. UTF-8 and UTF-16 with and without a
    byte order mark are read. ValueError, with the line, for anything else and for keys that
    appear twice in an object; OSError if the file can't be read.
    """
    with foreign_bytes(str(file)):
        try:
            with _opened(file) as stream:
                read = _lines if _is_lines(file, _Window(stream)) else _list
            with _opened(file) as stream:
                yield from read(stream)
        except UnicodeDecodeError as error:
            raise ValueError(f"not valid JSON: {error}") from None
        except RecursionError:
            raise ValueError("not valid JSON: it is nested too deeply") from None


def _opened(file: Path) -> io.TextIOWrapper:
    with file.open("rb") as stream:
        encoding = json.detect_encoding(stream.read(4))
    return io.TextIOWrapper(file.open("rb"), encoding)


def _is_lines(file: Path, window: "_Window") -> bool:
    """Tells which form a file has; ValueError for a single object that is no line."""
    first = window.peek()
    if file.suffix.lower() in _LINES or first != "{":
        return file.suffix.lower() in _LINES and first != "["
    try:
        window.value()
    except ValueError as error:
        if len(window.text) < _LONGEST:
            raise
        raise ValueError(f"{_EXPECTED}, found one long object ({error})") from None
    if window.peek() != "{":
        raise ValueError(f"{_EXPECTED}, found dict")
    return True


def _lines(stream: io.TextIOWrapper) -> Iterator[Any]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield parse_json(line, f"line {number}", unique_keys)


def _list(stream: io.TextIOWrapper) -> Iterator[Any]:
    window = _Window(stream)
    if window.peek() != "[":
        raise ValueError(f"{_EXPECTED}, found {type(window.value()).__name__}")
    window.at += 1
    if window.peek() == "]":
        window.at += 1
    else:
        yield window.value()
        while window.separator() == ",":
            yield window.value()
    if window.peek():
        raise window.error("text follows the end of the list", window.at)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the object of (key, value) pairs; ValueError for a key that appears twice."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f'key "{twice:.80}" appears twice in {pairs!s:.200}')
    return content


class _Window:
    """The part of a text that is being read. text: it; at: how much of it has been used."""

    def __init__(self, stream: io.TextIOWrapper):
        self.text = ""
        self.at = 0
        self._stream = stream
        self._lines = 0  # those before the window
        self._columns = 0  # of the line that the window starts in, before it
        self._ended = False
        self._decoder = json.JSONDecoder(object_pairs_hook=unique_keys)

    def peek(self) -> str:
        """Returns the next character that is no space, and goes to it; "" at the end."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()
            if self.at < len(self.text):
                return self.text[self.at]
            if self._ended:
                return ""
            self._read_on()

    def separator(self) -> str:
        """Returns "," or "]" and goes past it and the space around it."""
        between = _BETWEEN.match(self.text, self.at)
        if between is not None and between.end() < len(self.text):
            self.at = between.end()
            return between[1]
        found = self.peek()
        if not found or found not in ",]":
            raise self.error("Expecting ',' delimiter", self.at)
        self.at += 1
        self.peek()
        return found

    def value(self) -> Any:
        """Returns the value that starts here, and goes past it."""
        while True:
            problem = None
            try:
                value, end = self._decoder.raw_decode(self.text, self.at)
                if end < len(self.text) or self._ended:  # a number at the end might go on
                    self.at = end
                    return value
            except json.JSONDecodeError as error:
                problem = error
            if problem is not None and self._is_final(problem):
                raise self.error(problem.msg, problem.pos)
            self._read_on()

    def error(self, problem: str, place: int) -> ValueError:
        """Returns the error of a problem at a place in the window."""
        line = self._lines + self.text.count("\n", 0, place) + 1
        column = self._columns_before(place) + 1
        return ValueError(f"not valid JSON: {problem}: line {line} column {column}")

    def _columns_before(self, place: int) -> int:
        start = self.text.rfind("\n", 0, place) + 1
        return place - start + (0 if start else self._columns)

    def _is_final(self, problem: json.JSONDecodeError) -> bool:
        long = len(self.text) - self.at > _LONGEST
        cut = problem.pos + _SURELY > len(self.text) or problem.msg.startswith("Unterminated")
        return self._ended or long or not cut

    def _read_on(self) -> None:
        """Drops what has been used and reads as much as is left, so that a long value is cheap."""
        more = self._stream.read(max(_CHUNK, len(self.text) - self.at))
        self._columns = self._columns_before(self.at)
        self._lines += self.text.count("\n", 0, self.at)
        self.text = self.text[self.at :] + more
        self.at = 0
        self._ended = not more
