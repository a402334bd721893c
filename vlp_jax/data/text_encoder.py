"""From a text as people write it to token ids: cleaning, cutting, word pieces."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlp_jax.data.text import TEXT_STYLES, encode_pair, usable_text
from vlp_jax.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class TextEncoder:
    """How one model reads texts.

    style: a name in TEXT_STYLES, which cleans a text and cuts it at `max_words` words.
    add_sep: ends a single text with [SEP].
    """

    tokenizer: Tokenizer
    style: str = "albef"
    max_words: int = 30
    add_sep: bool = False

    def __post_init__(self) -> None:
        TEXT_STYLES.get_known(self.style, "config.data.text_style")

    def caption(self, text: str) -> str:
        """Returns a caption, cleaned; empty if it has no words."""
        return TEXT_STYLES[self.style][0](text, self.max_words)

    def question(self, text: str) -> str:
        """Returns a question, cleaned; empty if it has no words."""
        return TEXT_STYLES[self.style][1](text, self.max_words)

    def usable_caption(self, captions: Sequence[str]) -> tuple[str, int]:
        """Returns the first caption with words in it, cleaned, and its place, or ValueError."""
        clean = TEXT_STYLES[self.style][0]
        return usable_text(self.tokenizer, captions, clean, self.max_words)

    def usable_question(self, question: str) -> str:
        """Returns a question, cleaned and ended as its style ends it; ValueError without words."""
        style = TEXT_STYLES[self.style]
        clean = style.question
        cleaned, _ = usable_text(self.tokenizer, [question], clean, self.max_words, "question")
        return cleaned + style.question_end

    def pieces(self, text: str) -> list[int]:
        """Returns the ids of the word pieces of a cleaned text."""
        return TEXT_STYLES[self.style].pieces(self.tokenizer, text)

    def words(self, text: str, used: int) -> list[tuple[str, slice]]:
        """Returns the whole words of a cleaned text with the positions of their pieces.

        Position 0 is [CLS]. Words without pieces are left out, and from the first on of which a
        piece is not among the `used` positions.
        """
        found, start = [], 1
        for word in re.finditer(r"\S+", text):
            stop = 1 + len(self.pieces(text[: word.end()]))
            if stop > used:
                break
            if stop > start:
                found.append((word.group(), slice(start, stop)))
            start = stop
        return found

    def encode(self, text: str, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids int32 and mask bool [length] of a cleaned text."""
        return self.tokenizer.frame(self.pieces(text), length, self.add_sep)

    def encode_pair(
        self, first: str, second: str, length: int, truncate: str = "longer"
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns ids, mask and segments [length] of two cleaned texts, see `encode_pair`."""
        pieces = TEXT_STYLES[self.style].pieces
        return encode_pair(self.tokenizer, first, second, length, truncate, pieces)

    def encode_all(self, texts: Sequence[str], length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns ids and masks [N, length] of cleaned texts."""
        ids, masks = zip(*(self.encode(text, length) for text in texts))
        return np.stack(ids), np.stack(masks)
