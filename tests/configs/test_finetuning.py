"""Tests of the published fine-tuning recipes: made of known parts, and cut down they train."""

import jax
import pytest

from tests.training.tiny import ROOT
from vlp_jax.config import load_config
from vlp_jax.parallel import use_mesh
from vlp_jax.tasks import build_tasks
from vlp_jax.training.experiment import assemble

CONFIGS = sorted(ROOT.glob("configs/*/finetune_*.py"))
NAMES = [f"{file.parent.name}/{file.stem.removeprefix('finetune_')}" for file in CONFIGS]


@pytest.mark.parametrize("file", CONFIGS, ids=NAMES)
def test_a_recipe_and_its_smoke_run_ask_the_same(file):
    published, small = load_config(str(file)), load_config(f"{file}:smoke")
    tasks, cut = build_tasks(published), build_tasks(small)
    assert tasks.keys() == cut.keys()
    for name, task in tasks.items():
        assert {"evaluate", "queue_size"} >= {
            k for k, v in vars(task).items() if vars(cut[name])[k] != v
        }
    assert any(task.evaluate for task in tasks.values())
    assert small.optimizer.groups == published.optimizer.groups
    assert small.data.tags == published.data.tags and published.init_from


@pytest.mark.slow
@pytest.mark.parametrize("file", CONFIGS, ids=NAMES)
def test_the_smoke_run_trains_all_of_it(file):
    experiment = assemble(load_config(f"{file}:smoke"))
    assert experiment.tasks.keys() == experiment.config.tasks.keys()
    (source,) = experiment.config.data.sources
    with use_mesh(experiment.mesh):
        state = experiment.states.abstract
        steps = experiment.jitted_steps(jax.tree.map(lambda x: x.sharding, state))
        for step in steps.values():
            after, _ = jax.eval_shape(step, state, experiment.mixture[source].batch(0))
            assert jax.tree.structure(after) == jax.tree.structure(state)
