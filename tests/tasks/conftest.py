"""What the tests of evaluations share: an experiment, and models that know all or nothing of it."""

import pytest

from tests.tasks.all_knowing import AllKnowing, Evaluated
from tests.training.tiny import tiny
from vlp_jax.training.experiment import Experiment, assemble


@pytest.fixture(scope="session")
def scenes() -> Experiment:
    """Room for whole captions, so that a near-miss is never cut to the words of the truth.

    No caption is true of two of the first 16 test pictures.
    """
    return assemble(tiny(data__text_length=48, data__source_args__emoji_scenes__seed=1))


@pytest.fixture(scope="session")
def opened() -> dict:
    """The splits that are open."""
    return {}


@pytest.fixture
def right(scenes, opened) -> Evaluated:
    """All is known."""
    return Evaluated(scenes, AllKnowing(scenes), opened)


@pytest.fixture
def wrong(scenes, opened) -> Evaluated:
    """All is known, and said the other way round."""
    return Evaluated(scenes, AllKnowing(scenes, sign=-1.0), opened)
