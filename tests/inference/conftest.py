"""A saved run that has learned nothing, which is enough to use a model."""

from pathlib import Path

import pytest

import vlp_jax
from tests.training.tiny import save_untrained, tiny


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """The workdir of a run with all four heads and a teacher."""
    workdir = tmp_path_factory.mktemp("runs") / "quickstart"
    save_untrained(workdir, tiny())
    return workdir


@pytest.fixture(scope="session")
def model(run):
    """The run's model, ready for use."""
    return vlp_jax.load(run)
