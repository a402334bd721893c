"""Loads a model by path: a run's workdir with its checkpoints."""

from pathlib import Path
from typing import Any

from vlp_jax.config import ExperimentConfig, build
from vlp_jax.data.assemble import Vocabulary
from vlp_jax.inference.model import Model


def load(path: str | Path, step: int | None = None, which: str = "params") -> Model:
    """Returns the model of a run's workdir, at its newest checkpoint or at `step`.

    `which` = "teacher" takes the momentum copy. Raises FileNotFoundError if there is no checkpoint,
    ValueError if it holds no such parameters.
    """
    config, vocabulary, params = read_checkpoint(path, step, which)
    return Model(config, params, vocabulary)


def read_checkpoint(
    path: str | Path, step: int | None = None, which: str = "params"
) -> tuple[ExperimentConfig, Vocabulary, Any]:
    """Returns the resolved config, the vocabulary and the parameters of a checkpoint."""
    from vlp_jax.training.checkpoint import open_store  # Orbax is slow to import

    with open_store(path) as store:
        about = store.about(step)
        params = store.restore_params(step, which)
    config = build(ExperimentConfig, about["config"], "config")
    return config, Vocabulary.from_json(about["vocabulary"]), params
