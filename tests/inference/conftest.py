"""Models that have learned nothing, which is enough to use them: a run, and published ones."""

from pathlib import Path

import pytest

import vlp_jax
from tests.inference.published import ANSWERS, sizes_of, write_weights
from tests.training.tiny import save_untrained, tiny
from vlp_jax.inference import load


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


@pytest.fixture(scope="session")
def loaded(tmp_path_factory):
    """Returns a function from a preset's name to its tiny model; each is made once."""
    folder, made = tmp_path_factory.mktemp("weights"), {}

    def get(name: str):
        if name not in made:
            file = write_weights(folder, name)
            answers = ANSWERS if any(x in name for x in ("vqa", "gqa", "12in1")) else ()
            made[name] = load(name, file, sizes=sizes_of(name), answers=answers)
        return made[name]

    return get
