"""Every cell of the README's table: a recipe in small, trained, measured and then asked."""

import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

from tests.configs.published_files import moved
from tests.configs.readme_table import CELLS, readme_table, recipe_of
from tests.training.tiny import ROOT, Stepper
from vlp_jax.config import ExperimentConfig, build, load_config, to_plain
from vlp_jax.data.regions import open_regions
from vlp_jax.inference.model import Model
from vlp_jax.model import Forward
from vlp_jax.tasks import build_tasks, evaluate
from vlp_jax.training.experiment import Experiment, assemble

BOXES = [[0, 0, 20, 20], [10, 4, 30, 30]]


def small(spec: str, folder) -> ExperimentConfig:
    """Returns a smoke run on made files in the published forms, measured as the recipe is."""
    published, values = (to_plain(load_config(s)) for s in (spec, f"{spec}:smoke"))
    data = published["data"]
    sources = {n: moved(args, folder) for n, args in data["source_args"].items()}
    values["data"] |= dict(source=data["source"], source_args=sources, region_pixels=0)
    for task, args in published["tasks"].items():
        values["tasks"][task]["evaluate"] = args.get("evaluate", {})
    return build(ExperimentConfig, values, "config")


def trained(experiment: Experiment, steps: int = 2):
    """Returns the state after a few steps, each of a finite loss."""
    stepper = Stepper(experiment, 1)
    state, (source,) = stepper.initial, experiment.config.data.sources
    for number in range(steps):
        state, metrics = stepper.step(state, experiment.mixture[source].batch(number))
        assert math.isfinite(metrics["loss"])
    return state


def check_measured(config: ExperimentConfig, outcome, figures: tuple[str, ...]) -> None:
    """All evaluations are handed in or measured, the latter by each of the official figures."""
    for task in build_tasks(config).values():
        for key, evaluation in task.evaluate.items():
            handed_in = [file for file in outcome.submissions if file.startswith(f"{key}_")]
            # Recalls by contrast alone go without the name of their evaluation.
            given = {name.removeprefix(f"{key}_"): x for name, x in outcome.figures.items()}
            found = [given.get(figure) for figure in figures]
            if evaluation.split == "test" and handed_in and found[0] is None:
                continue  # its answers are not published
            # Some are not defined for so few examples, such as a distance within groups.
            assert math.isfinite(found[0]) and None not in found, (key, found)


def shown_to(model: Model, folder):
    """Returns one picture and two of them, as arguments of the model's verbs."""
    names = ["s-0-0-img0", "s-0-0-img1"]
    if model.inputs.reads_regions:
        store = open_regions("npz", str(folder))
        kind, both = "regions", [store[f"{name}.npz"] for name in names]
    else:
        kind, both = "images", [folder / f"{name}.png" for name in names]
    return {kind: both[0]}, {kind: tuple(both)}


@pytest.mark.drawn(6)
@pytest.mark.slow
@pytest.mark.parametrize(("family", "row"), CELLS, ids=lambda x: getattr(x, "task", x))
def test_a_cell_is_trained_measured_and_asked(family, row, files):
    config = small(str(ROOT / recipe_of(family, row)), files)
    experiment = assemble(config)
    assert experiment.tasks.keys() == {n for n, t in build_tasks(config).items() if t.trains}
    state = trained(experiment)
    forward = Forward(experiment.model, state.params)
    outcome = evaluate(experiment.config, experiment.vocabulary, forward)
    check_measured(config, outcome, row.figures)
    model = Model(experiment.config, state.params, experiment.vocabulary)
    assert row.verb in model.verbs
    answer = row.ask(model, *shown_to(model, files), np.array(BOXES))
    assert answer and answer == row.ask(model, *shown_to(model, files), np.array(BOXES))


@pytest.mark.parametrize(("family", "row"), CELLS, ids=lambda x: getattr(x, "task", x))
def test_a_recipe_gives_the_figures_of_its_row(family, row):
    tasks = build_tasks(load_config(str(ROOT / recipe_of(family, row))))
    given = {k: e.figures(k) for task in tasks.values() for k, e in task.evaluate.items()}
    assert given
    for key, names in given.items():
        assert all({f"{key}_{figure}", figure} & names for figure in row.figures), (key, names)


def test_the_readme_has_the_table():
    page, table = ROOT / "README.md", readme_table()
    text = page.read_text()
    found = text.partition("## Fine-tuning\n")[2].partition("\n## ")[0]
    (old,) = re.findall(r"(?:^\|.*\n)+", found, re.MULTILINE)
    if "UPDATE_GOLDENS" in os.environ:
        page.write_text(text.replace(old, table + "\n"))
    else:
        assert old.splitlines() == table.splitlines()


def test_every_recipe_has_its_cell():
    recipes = {file.relative_to(ROOT) for file in ROOT.glob("configs/*/finetune_*.py")}
    joint = Path("configs/vilbert/finetune_12in1.py")  # tests/training/test_several_sources.py
    assert recipes - {joint} == {recipe_of(*cell) for cell in CELLS}
