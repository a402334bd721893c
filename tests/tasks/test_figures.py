"""What evaluations say they give is what they give."""

import pytest

from tests.tasks.all_knowing import square_heat
from vlp_jax.tasks import build_tasks, word_maps


@pytest.fixture(autouse=True)
def heat(monkeypatch):
    monkeypatch.setattr(word_maps, "gradcam", square_heat)


def test_the_figures_that_are_announced_are_those_that_come(right):
    tasks = build_tasks(right.experiment.config)
    for name, task in tasks.items():
        for key, evaluation in task.evaluate.items():
            found = evaluation(right.run(name), key).figures
            numbers = {k for k, v in found.items() if isinstance(v, float)}
            assert numbers <= evaluation.figures(key), key
            assert evaluation.figures(key) - numbers <= {f"{key}_blind"}
