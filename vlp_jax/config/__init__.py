"""Experiment configuration: typed frozen dataclasses, overrides and errors that name the path."""

from vlp_jax.config.build import build, checked_fields, field_types, to_plain
from vlp_jax.config.files import import_beside, load_config, with_overrides, write_config
from vlp_jax.config.registry import Registry, nearest
from vlp_jax.config.schema import (
    DataConfig,
    EvaluationConfig,
    ExperimentConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
    replace,
)

__all__ = [
    "DataConfig",
    "EvaluationConfig",
    "ExperimentConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Registry",
    "TrainingConfig",
    "build",
    "checked_fields",
    "field_types",
    "import_beside",
    "load_config",
    "nearest",
    "replace",
    "to_plain",
    "with_overrides",
    "write_config",
]
