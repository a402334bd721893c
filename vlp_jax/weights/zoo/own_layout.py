"""The file layout of compositions that were never published: our own parameters, one by one."""

from vlp_jax.config import ModelConfig
from vlp_jax.model import build_model
from vlp_jax.weights.conversion import layers_apart
from vlp_jax.weights.key_table import KeyTable, key_table, raw
from vlp_jax.weights.zoo.base import abstract_shapes


def own_table(config: ModelConfig) -> KeyTable:
    """Returns a table that names each parameter by its path, "text.word.table", layer by layer."""
    paths = layers_apart(abstract_shapes(build_model(config)))
    return key_table([raw(path.replace("/", "."), path) for path in paths])
