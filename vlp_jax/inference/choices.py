"""A question with each choice of its answer, as batch fields (VCR)."""

from typing import Any

import numpy as np

from vlp_jax.data.input_rules import TextRules
from vlp_jax.inference.inputs import Inputs, Pictures
from vlp_jax.model import CAPTION


def choice_fields(
    inputs: Inputs, pictures: Pictures, question: str, choices: list[Any], rules: TextRules
) -> dict[str, np.ndarray]:
    """Returns a batch with a row for each choice: the picture and `[CLS] question [SEP] choice`.

    ValueError for several pictures or fewer than two choices.
    """
    if len(pictures) != 1 or not isinstance(question, str):
        raise ValueError("choose takes one picture and one question")
    if len(choices) < 2:
        raise ValueError(f"choose was given {len(choices)} choice(s); expected two or more")
    made = inputs.encoder.cleaned([question, *choices], rules)
    texts, seconds = [made[0]] * len(choices), made[1:]
    fields = inputs.encoder.fields(texts, rules, CAPTION, seconds, "second")
    fields[CAPTION.segments] = _segments(fields, inputs)
    rows = {n: np.broadcast_to(x, (len(choices), *x.shape[1:])) for n, x in pictures.fields.items()}
    return rows | fields


def _segments(fields: dict[str, np.ndarray], inputs: Inputs) -> np.ndarray:
    """Returns the segments [N, L] of the model: its own types, and of the [SEP] between parts."""
    second = fields[CAPTION.segments] == 1
    if inputs.rules.separator_follows:
        second |= np.roll(second, -1, axis=1) & (fields[CAPTION.ids] == inputs.tokenizer.sep_id)
    types = np.array(inputs.rules.choice_types, np.int32)
    return np.where(fields[CAPTION.mask], types[second.astype(int)], 0).astype(np.int32)
