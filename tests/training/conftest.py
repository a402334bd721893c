"""What the tests of training share: one assembled experiment, five batches, one compiled step."""

import pytest

from tests.training.tiny import Stepper, tiny
from vlp_jax.training.experiment import Experiment, assemble


@pytest.fixture(scope="session")
def experiment() -> Experiment:
    """All four tasks with teacher and queue; see `tiny_config`."""
    return assemble(tiny())


@pytest.fixture(scope="session")
def batches(experiment) -> list[dict]:
    """The first five training batches, on the host."""
    return [experiment.mixture.batch(step) for step in range(5)]


@pytest.fixture(scope="session")
def single(experiment) -> Stepper:
    """The experiment on one device."""
    return Stepper(experiment, 1, 1, 1)


@pytest.fixture(scope="session")
def single_run(single, batches):
    """State and metrics after five steps on one device."""
    return single.run(batches)
