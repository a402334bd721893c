"""Parameters of runs that were saved before layers were stacked, in today's layout."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from vlp_jax.config import ModelConfig
from vlp_jax.fusion.co_attention import places
from vlp_jax.layers.layer_names import stack_layers

Rules = Iterator[tuple[str, str]]


def stacked_layout(params: Mapping, config: ModelConfig) -> dict[str, Any]:
    """Returns a parameter tree in which layers are stacked; a tree of today is returned as it is.

    Args:
      params: arrays, with "text/layer_0/…", "text/layer_1/…" or with "text/layers/…".
      config: the model that they are of.
    """
    rules = list(_RULES.get(config.fusion, lambda config: iter(()))(config))
    flat = flatten_dict(dict(params), sep="/")
    renamed = {_renamed(path, rules): array for path, array in flat.items()}
    return unflatten_dict(stack_layers(renamed), sep="/")


def _renamed(path: str, rules: list[tuple[str, str]]) -> str:
    """Applies the first rule that matches the beginning of a path."""
    for pattern, replacement in rules:
        new, count = re.subn(f"^fusion/{pattern}/", f"fusion/{replacement}/", path)
        if count:
            return new
    return path


def _pairs(config: ModelConfig) -> Rules:
    """Two layers and the projections that they share are one period."""
    for pair in range(config.fusion_args.get("layers", 6)):
        for part in ("key", "value"):
            yield rf"pair_{pair}_{part}", f"layer_{pair}/{part}"
        for i, which in enumerate(("first", "second")):
            yield f"layer_{2 * pair + i}", f"layer_{pair}/{which}"


def _cross_modal(config: ModelConfig) -> Rules:
    yield r"(text|image)_(\d+)_(attention|feed_forward)", r"layer_\2/\1_\3"


def _co_attention(config: ModelConfig) -> Rules:
    args = config.fusion_args
    counts = args.get("image_layers", ()), args.get("text_layers", ())
    found = places(args.get("layers", 6), *counts)
    for i, place in enumerate(found):
        yield rf"connection_{i}_(text|image)", rf"{place.connection}/\1_connection"
    for stream in ("text", "image"):
        paths = [path for place in found for path in getattr(place, stream)]
        for i, path in enumerate(paths):
            yield f"{stream}_layer_{i}", path


_RULES = {
    "two_image_cross_attention": _pairs,
    "cross_modal": _cross_modal,
    "co_attention": _co_attention,
}
