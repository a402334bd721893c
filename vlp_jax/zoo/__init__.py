"""The zoo: published models by name, each with its sizes, conventions and file layout."""

from vlp_jax.zoo import albef  # it registers its models
from vlp_jax.zoo.base import ZOO, Conventions, Published, find

__all__ = ["ZOO", "Conventions", "Published", "albef", "find"]
