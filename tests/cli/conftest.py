"""A saved run that has learned nothing, and pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.tiny import save_untrained, tiny


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> Path:
    """The workdir of a run with all four heads and a teacher."""
    workdir = tmp_path_factory.mktemp("runs") / "quickstart"
    save_untrained(workdir, tiny())
    return workdir


@pytest.fixture
def pictures(tmp_path) -> list[str]:
    """The paths of three pictures."""
    paths = [str(tmp_path / f"{i}.png") for i in range(3)]
    for path in paths:
        pixels = np.random.default_rng().integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    return paths
