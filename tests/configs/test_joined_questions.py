"""Recipes that learn from the questions of two data sets as one list: what their answers count."""

import numpy as np
import pytest

from tests.configs.published_files import COUNT, moved
from tests.training.tiny import ROOT
from vlp_jax.config import ExperimentConfig, build, load_config, to_plain
from vlp_jax.data.assemble import open_source
from vlp_jax.tasks import build_tasks
from vlp_jax.tasks.evaluation import check_evaluations
from vlp_jax.training.experiment import Experiment, assemble


def small(family: str, folder) -> Experiment:
    """Returns a smoke run of VQA on made files, whose batch holds an epoch."""
    spec = str(ROOT / f"configs/{family}/finetune_vqa.py")
    published, values = (to_plain(load_config(s)) for s in (spec, f"{spec}:smoke"))
    given = published["data"]["source_args"]
    sources = {name: moved(args, folder) for name, args in given.items()}
    data = dict(source="joined", source_args=sources, region_pixels=0, batch_size=3 * COUNT)
    values["data"] |= data
    return assemble(build(ExperimentConfig, values, "config"))


def rows(values: np.ndarray) -> set[tuple[float, ...]]:
    return {tuple(row) for row in values.astype(float).round(6).tolist()}


@pytest.mark.parametrize("family", ["albef", "uniter"])
def test_both_are_one_list_of_which_one_is_measured(family, files):
    experiment = small(family, files)
    data = experiment.config.data
    sizes = {name: len(open_source(data, name, "train")) for name in ("joined", "annotated")}
    assert sizes == {"joined": 3 * COUNT, "annotated": COUNT}
    assert experiment.vocabulary.answers == ("yes", "no")  # in the order of the list
    published = load_config(str(ROOT / f"configs/{family}/finetune_vqa.py"))
    (task,) = published.tasks.values()
    assert task["evaluate"]["vqa"]["source"] == "annotated"


@pytest.mark.parametrize("family", ["albef", "uniter"])
def test_one_may_be_trained_on_alone(family):
    """As docs/finetuning.md says."""
    spec = str(ROOT / f"configs/{family}/finetune_vqa.py")
    config = load_config(spec, ["--config.data.source=annotated"])
    assert config.data.sources == ("annotated",)
    check_evaluations(config, build_tasks(config))


def test_albef_counts_an_answer_of_visual_genome_half(files):
    """Beside the shares of ten annotators, of whom two or three say "no"."""
    weights = small("albef", files).mixture.batch(0)["answer_weights"]
    assert rows(weights[:, :3]) == {(0.5, 0, 0), (0.7, 0.3, 0), (0.8, 0.2, 0)}
    halves = weights[:, 0] == 0.5
    assert halves.sum() == 2 * COUNT and halves[: 2 * COUNT].sum() < 2 * COUNT  # shuffled


def test_uniter_counts_an_answer_of_visual_genome_whole(files):
    """Beside min(1, 0.3·n) for n annotators."""
    scores = small("uniter", files).mixture.batch(0)["answer_scores"]
    assert rows(scores) == {(1, 0), (0, 1), (1, 0.9), (1, 0.6)}


def test_the_steps_are_those_of_both():
    albef, uniter = (
        load_config(str(ROOT / f"configs/{x}/finetune_vqa.py")) for x in ("albef", "uniter")
    )
    assert albef.training.steps == 8 * ((443_757 + 214_354 + 1_445_322) // 256) == 65_728
    assert uniter.training.steps == 6000
    for config, weight, listed in ((albef, 0.5, False), (uniter, None, True)):
        genome = config.data.source_args["joined"]["parts"]["genome"]
        assert genome.get("answer_weight") == weight and genome.get("listed", False) == listed
