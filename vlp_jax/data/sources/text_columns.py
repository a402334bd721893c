"""Millions of texts as two arrays: their UTF-8 bytes, and where each of them ends."""

from array import array
from collections.abc import Iterable

from vlp_jax.data.sources.nested_texts import valid_text


class TextColumn:
    """A list of texts that can only grow; a text costs its bytes and eight more."""

    def __init__(self):
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def append(self, text: str) -> None:
        """Adds a text; lone surrogates become U+FFFD (`valid_text`)."""
        try:
            self._bytes += text.encode()
        except UnicodeEncodeError:
            self._bytes += valid_text(text).encode()
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode()


class TextLists:
    """A list of lists of texts that can only grow."""

    def __init__(self):
        self.texts = TextColumn()
        self._ends = array("q", [0])

    def append(self, texts: Iterable[str]) -> None:
        """Adds a list."""
        for text in texts:
            self.texts.append(text)
        self._ends.append(len(self.texts))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def span(self, index: int) -> range:
        """Returns which of `texts` are those of a list."""
        return range(self._ends[index], self._ends[index + 1])

    def __getitem__(self, index: int) -> list[str]:
        return [self.texts[place] for place in self.span(index)]
