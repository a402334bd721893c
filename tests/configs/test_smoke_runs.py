"""Recipes train and are measured on published files: each task and each family once, in small."""

import math

import jax
import pytest

from tests.configs.published_files import moved, write_all
from tests.training.tiny import ROOT, Stepper
from vlp_jax.config import ExperimentConfig, build, load_config, to_plain
from vlp_jax.model import Forward
from vlp_jax.tasks import build_tasks, evaluate
from vlp_jax.training.experiment import assemble

CASES = (
    "albef/finetune_grounding",
    "albef/finetune_vqa",
    "albef/pretrain_nlvr2",
    "uniter/finetune_entailment",
    "uniter/finetune_referring",
    "uniter/finetune_retrieval",
    "vilbert/finetune_gqa",
    "vilbert/finetune_multiple_choice",
    "lxmert/finetune_nlvr2",
    "visualbert/finetune_vqa",
    "oscar/finetune_captioning",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    write_all(folder)
    return folder


@pytest.fixture
def compiles_fast():
    """What is compiled runs once or twice."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def small(name: str, folder) -> ExperimentConfig:
    """Returns a smoke run on made files, measured as the recipe is."""
    spec = str(ROOT / f"configs/{name}.py")
    published, values = (to_plain(load_config(s)) for s in (spec, f"{spec}:smoke"))
    data = published["data"]
    sources = {n: moved(args, folder) for n, args in data["source_args"].items()}
    path = str(folder / "pairs.json") if data["path"] else None
    values["data"] |= dict(source=data["source"], source_args=sources, path=path, region_pixels=0)
    for task, args in published["tasks"].items():
        values["tasks"][task]["evaluate"] = {
            key: settings | dict(limit=8) for key, settings in args.get("evaluate", {}).items()
        }
    return build(ExperimentConfig, values, "config")


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_steps_and_what_is_measured(name, files, compiles_fast):
    config = small(name, files)
    experiment = assemble(config)
    stepper = Stepper(experiment, 1)
    state, (source,) = stepper.initial, config.data.sources
    for number in range(2):
        state, metrics = stepper.step(state, experiment.mixture[source].batch(number))
        assert math.isfinite(metrics["loss"])
    forward = Forward(experiment.model, state.params)
    outcome = evaluate(experiment.config, experiment.vocabulary, forward)
    for task in build_tasks(config).values():
        for key, evaluation in task.evaluate.items():
            handed_in = [file for file in outcome.submissions if file.startswith(f"{key}_")]
            measured = evaluation.figures(key) & outcome.figures.keys()
            # Consistency and the like are not defined where nothing is answered right.
            main = [
                figure for figure in measured if figure.endswith(("_accuracy", "_r1", "_cider"))
            ]
            assert all(math.isfinite(outcome.figures[figure]) for figure in main)
            assert main or handed_in, key
            assert evaluation.split == "test" or main, key
