"""The zoo: published models by name, each with its sizes, conventions and file layout."""

from vlp_jax.weights.zoo import (  # noqa: F401  (they register their models)
    albef,
    lxmert,
    oscar,
    uniter_presets,
    uniter_source_text,
    vilbert,
    vilbert_source_text,
    visualbert,
)
from vlp_jax.weights.zoo.base import ZOO, Conventions, Layout, Published, find, find_architecture

__all__ = [
    "ZOO",
    "Conventions",
    "Layout",
    "Published",
    "find",
    "find_architecture",
]
