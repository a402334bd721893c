"""The file layout of compositions that were never published: our own parameters, one by one."""

from flax.traverse_util import flatten_dict

from vlp_jax.config import ModelConfig
from vlp_jax.model import build_model
from vlp_jax.weights.key_table import KeyTable, key_table, raw
from vlp_jax.weights.zoo.base import abstract_shapes


def own_table(config: ModelConfig) -> KeyTable:
    """Returns a table that names each parameter by its path: "text.word.table"."""
    paths = flatten_dict(abstract_shapes(build_model(config)), sep="/")
    return key_table([raw(path.replace("/", "."), path) for path in paths])
