"""The zoo: published models by name, each with its sizes, conventions and file layout."""

from vlp_jax.weights.zoo import (  # noqa: F401  (they register their models)
    albef,
    frcnn_vg,
    lxmert,
    oscar,
    uniter_presets,
    uniter_source_text,
    vilbert,
    vilbert_source_text,
    vinvl,
    visualbert,
)
from vlp_jax.weights.zoo.base import ZOO, Conventions, Layout, Published, find, find_architecture
from vlp_jax.weights.zoo.detectors import DETECTORS

__all__ = [
    "DETECTORS",
    "ZOO",
    "Conventions",
    "Layout",
    "Published",
    "find",
    "find_architecture",
]
