"""What the fields of programs mean: inputs and how to make them, outputs by verb, texts."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.data.text import TEXT_STYLES
from vlp_jax.inference.model import Model

_IDS = (
    "tokenizer.json's [CLS], word pieces{sep}, then [PAD]; a text with too many pieces loses the "
    "last of them"
)
_SEGMENTS = "0 = first part of the text and padding; its second part (tags, a choice): see docs"
_MEANINGS = {
    "image": "RGB 0..255, resized to this shape by Pillow's BICUBIC; the program normalises",
    "text_ids": _IDS,
    "question_ids": _IDS,
    "text_mask": "true where text_ids are not [PAD]",
    "question_mask": "true where question_ids are not [PAD]",
    "text_segments": _SEGMENTS,
    "question_segments": _SEGMENTS,
    "region_features": "the detector's feature of each region{region}, then rows of zeros",
    "region_boxes": "x1, y1, x2, y2 as shares of width and height{region}, then zeros",
    "region_mask": "true for rows that are no padding",
    "region_types": "row of the model's table of region types: which picture a region is of",
    "tag_ids": "word pieces of the tags and [SEP], then [PAD]; all [PAD] without tags",
    "tag_mask": "true where tag_ids are not [PAD]",
}


@dataclass(frozen=True)
class Output:
    """What a program gives: a function of what the verb computes and the inputs, and its words."""

    function: Callable[[Any, Mapping[str, Array]], dict[str, Array]]
    meanings: Mapping[str, str]


def _vector(raw: Array, inputs: Mapping) -> dict[str, Array]:
    return {"vector": raw}


def _log_odds(raw: Array, inputs: Mapping) -> dict[str, Array]:
    return {"log_odds": raw, "probability": jax.nn.sigmoid(raw)}


def _classes(raw: Array, inputs: Mapping) -> dict[str, Array]:
    return {"score": raw, "probability": jax.nn.softmax(raw)}


def _shown_regions(raw: Array, inputs: Mapping) -> dict[str, Array]:
    shown = jnp.where(inputs["region_mask"], raw, -jnp.inf)
    return {"score": raw, "probability": jax.nn.softmax(shown)}


def _choices(raw: Array, inputs: Mapping) -> dict[str, Array]:
    return {"score": raw, "probability": jax.nn.softmax(raw, axis=0)}


def _captions(raw: Any, inputs: Mapping) -> dict[str, Array]:
    return {"ids": raw.ids, "score": raw.scores}


_UNIT = {"vector": "of length 1; the product of a picture's and a text's is their similarity"}
OUTPUTS = {
    "encode_image": Output(_vector, _UNIT),
    "encode_text": Output(_vector, _UNIT),
    "match": Output(
        _log_odds,
        {
            "log_odds": "that the text describes the picture",
            "probability": "that it does; the sigmoid of log_odds",
        },
    ),
    "answer": Output(
        _classes,
        {
            "score": "of each answer in answers.json; -inf for one that was not ranked",
            "probability": "of each answer",
        },
    ),
    "reason": Output(
        _classes,
        {
            "score": "of false and of true: whether the text is true of both pictures",
            "probability": "of false and of true",
        },
    ),
    "entail": Output(
        _classes,
        {
            "score": "of each class of input_rules.entailment in config.json",
            "probability": "of each class",
        },
    ),
    "ground": Output(
        _shown_regions,
        {"score": "of each region; only where region_mask", "probability": "of each region"},
    ),
    "choose": Output(
        _choices,
        {
            "score": "of each choice; a row is the same question with another choice",
            "probability": "of each choice among all rows: call it with one question at a time",
        },
    ),
    "caption": Output(
        _captions,
        {
            "ids": "tokens of the caption from [CLS] to [SEP], then padding; by 5 beams",
            "score": "sum of log probabilities over the number of words",
        },
    ),
}
"""What the program of each verb gives. `retrieve` has none: it orders by what others give."""


def described(aval: Any, meaning: str) -> dict[str, Any]:
    """Returns shape, type and meaning of an input or output; "batch" is any number of rows."""
    shape = [size if isinstance(size, int) else str(size) for size in aval.shape]
    return {"shape": shape, "dtype": str(aval.dtype), "meaning": meaning}


def input_meaning(name: str, verb: str, model: Model) -> str:
    """Returns how an input of a verb's program is made."""
    sep = ", [SEP]" if model.rules.text_of(verb).add_sep else ""
    first = " after a first row for the whole picture" if model.rules.global_region else ""
    return _MEANINGS[name].format(sep=sep, region=first)


def text_rules(model: Model, verb: str) -> dict[str, Any]:
    """Returns how the texts of a verb are made ready for the tokenizer, and how they end."""
    rules = model.rules.text_of(verb)
    style = TEXT_STYLES[rules.style]
    clean = style.question if verb == "answer" else style.caption
    return {
        "style": rules.style,
        "cleaning": inspect.getdoc(clean).partition("\n")[0],
        "max_words": rules.max_words,
        "add_sep": rules.add_sep,
        "end_of_question": style.question_end if verb == "answer" else "",
    }
