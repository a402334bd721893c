"""Texts of a verb as batch fields, in a few lengths so that little is compiled."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.foreign import shortened
from vlp_jax.data.input_rules import TextRules
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.inference.images import names_picture
from vlp_jax.model import TextFields

LENGTHS = {16: 64, 64: 128, 256: 512}
"""Padded length -> the least limit of a text for which a shape of its own is worth compiling."""

_SHOWN = 80  # characters of a text in a message


@dataclass(frozen=True)
class TextInputs:
    """Makes tokens of texts; `positions` are the most that the model takes.

    least: texts are padded at least as if they had so many tokens.
    """

    tokenizer: Tokenizer
    positions: int
    least: int = 0

    def cleaned(self, texts: Sequence[Any], rules: TextRules, question: bool = False) -> list[str]:
        """Returns texts as the model reads them; ValueError for none, and for a picture's path."""
        encoder = rules.encoder(self.tokenizer)
        usable = encoder.usable_question if question else lambda x: encoder.usable_caption([x])[0]
        found = []
        for i, text in enumerate(texts):
            if names_picture(text) and os.path.isfile(text):
                raise ValueError(
                    f'text {i} is "{shortened(text, _SHOWN)}", the path of a picture: where a '
                    "picture is meant, give pathlib.Path(...) of it; a text is shown as it is"
                )
            try:
                found.append(usable(text))
            except ValueError:
                shown = shortened(repr(text), _SHOWN)
                message = f"text {i} is {shown}; expected a string with words in it"
                raise ValueError(message) from None
        return found

    def fields(
        self,
        texts: Sequence[str],
        rules: TextRules,
        names: TextFields,
        seconds: Sequence[str] | None = None,
        cut: str = "longer",
    ) -> dict[str, np.ndarray]:
        """Returns ids and mask [N, L] of cleaned texts; with `seconds` segments as well."""
        encoder = rules.encoder(self.tokenizer)
        limit = min(rules.length or self.positions, self.positions)
        if rules.length is None:
            self._check_lengths(encoder, texts)
        if seconds is None:
            made = dict(zip((names.ids, names.mask), encoder.encode_all(texts, limit)))
        else:
            pairs = [encoder.encode_pair(*pair, limit, cut) for pair in zip(texts, seconds)]
            columns = (names.ids, names.mask, names.segments)
            made = {name: np.stack(x) for name, x in zip(columns, zip(*pairs))}
        used = max(int(made[names.mask].sum(-1).max()), self.least)
        width = padded_length(used, limit)
        return {name: x[:, :width] for name, x in made.items()}

    def _check_lengths(self, encoder: TextEncoder, texts: Sequence[str]) -> None:
        """Raises ValueError for a text that no rule cuts and the model has no positions for."""
        for i, text in enumerate(texts):
            count = len(encoder.pieces(text)) + 1 + encoder.add_sep
            if count > self.positions:
                raise ValueError(
                    f"text {i} has {count} tokens, more than the {self.positions} positions of the "
                    f"model, which cuts no text: shorten {shortened(repr(text), _SHOWN)}"
                )


def padded_length(used: int, limit: int) -> int:
    """Returns the length to which texts of at most `used` tokens are padded."""
    worth = (length for length, least in LENGTHS.items() if least <= limit)
    return next((length for length in worth if length >= used), limit)
