"""The zoo: published models by name, each with its sizes, conventions and file layout."""

from vlp_jax.zoo import albef, lxmert, visualbert  # they register their models
from vlp_jax.zoo import uniter_presets, uniter_source_text  # noqa: F401
from vlp_jax.zoo import oscar  # noqa: F401
from vlp_jax.zoo import vilbert, vilbert_source_text  # noqa: F401
from vlp_jax.zoo.base import ZOO, Conventions, Layout, Published, find, find_architecture

__all__ = ["ZOO", "Conventions", "Layout", "Published", "albef", "find", "find_architecture", "lxmert", "visualbert"]
