"""Layers that read one picture as the start of layers that read two (ALBEF)."""

import re
from dataclasses import replace

from vlp_jax.config import ModelConfig
from vlp_jax.weights.key_table import Entry

ONE, TWO = "cross_attention", "two_image_cross_attention"

_SHARED = re.compile(r"^(fusion/layer_\d+)/cross_attention/attention/((key|value)/.*)")
_OWN = re.compile(r"^(fusion/layer_\d+)/(.*)")


def starts_two(theirs: ModelConfig, ours: ModelConfig) -> bool:
    """Tells whether `theirs` reads one picture where `ours` reads two in the same layers."""
    return (theirs.fusion, ours.fusion) == (ONE, TWO)


def for_two_pictures(entry: Entry) -> Entry:
    """Returns what fills a layer of one picture as what fills both layers of a pair.

    Both share the key and the value of cross-attention. Entries beside the fusion stay as they are.
    Source: `Pretrain_nlvr.py` of salesforce/ALBEF.
    """
    (path, *others) = entry.ours
    if others or not _OWN.match(path):
        return entry
    if shared := _SHARED.match(path):
        return replace(entry, ours=(f"{shared[1]}/{shared[2]}",))
    paths = tuple(_OWN.sub(rf"\1/{which}/\2", path) for which in ("first", "second"))
    return replace(
        entry,
        ours=paths,
        to_ours=lambda tensor: 2 * entry.to_ours(tensor),
        to_published=lambda first, second: entry.to_published(first),
    )
