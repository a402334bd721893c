"""The texts that pre-training tasks read: the caption as it is, or with words masked."""

from typing import Literal

from vlp_jax.model import CAPTION, TextFields

Shown = Literal["clean", "masked"]

MASKED = TextFields("mlm_ids", "text_mask", "text_segments")
SHOWN: dict[str, TextFields] = {"clean": CAPTION, "masked": MASKED}


def needed(fields: TextFields) -> frozenset[str]:
    """Returns the batch fields without which a text cannot be read."""
    return frozenset({fields.ids, fields.mask})
