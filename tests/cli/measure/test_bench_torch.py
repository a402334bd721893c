"""Tests that the torch models of the benchmark do the work that ours do."""

import json

import jax
import pytest

from vlp_jax.cli.main import main
from vlp_jax.cli.measure.bench_data import on_drawn_data
from vlp_jax.cli.measure.bench_models import model_to_time
from vlp_jax.model import Views
from vlp_jax.training.flops import matmul_flops, step_flops

pytestmark = [pytest.mark.torch, pytest.mark.slow]

pytest.importorskip("torch")
pytest.importorskip("transformers")

from vlp_jax.cli.measure.bench_torch import TWINS, Twin

# ALBEF's torch model projects keys and values of an image anew for each of its three texts.
MORE_WORK = {"albef": 1.15}


@pytest.mark.parametrize(
    "name", [name for name in TWINS if name not in ("uniter_large", "oscarplus")]
)
def test_a_twin_has_the_parameters_and_operations_of_our_model(name):
    experiment = on_drawn_data(model_to_time(name, "tiny", 8, "float32"))
    batch, params = (
        experiment.mixture[experiment.config.data.source].first,
        experiment.states.shapes.params,
    )
    twin = Twin(name, experiment.config, batch)
    assert twin.parameters == sum(x.size for x in jax.tree.leaves(params))
    infer = lambda params, batch: Views(experiment.model, params, batch).head("itm")
    assert twin.infer().flops == pytest.approx(matmul_flops(infer, params, batch), rel=0.02)
    (group,) = experiment.schedule.every_group
    most = MORE_WORK.get(name, 1.02)
    assert twin.train().flops <= most * step_flops(experiment, group, batch).model


def test_both_sides_of_a_row(tmp_path):
    path = tmp_path / "figures.json"
    arguments = ["oscar", "--size", "tiny", "--batch", "8", "--steps", "2", "--json", str(path)]
    assert main(["bench", *arguments, "--against", "torch"]) == 0
    for row in json.loads(path.read_text())["rows"]:
        ours, theirs = row["sides"]["jax"], row["sides"]["torch"]
        assert ours["parameters"] == theirs["parameters"]
        ratio = theirs["seconds"]["median"] / ours["seconds"]["median"]
        assert 0.5 * ratio < row["ratios"]["torch"]["median"] < 2 * ratio
