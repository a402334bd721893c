"""Bundles of official metrics: the shipped one passes, each error is found, mistakes are named."""

import json
import shutil
from pathlib import Path

import pytest

from vlp_jax.verify import verify
from vlp_jax.verify.metrics import METRIC_FUNCTIONS

BUNDLE = Path(__file__).parents[1] / "goldens" / "metrics-a"


@pytest.fixture
def bundle(tmp_path):
    """The small files of the bundle, which can be rewritten."""
    for name in ("vcr", "nlvr2"):
        shutil.copy(BUNDLE / f"{name}.json", tmp_path)
    return tmp_path


def edit(folder, name, change):
    path = folder / f"{name}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def failed(folder):
    (verdict,) = verify([folder])
    assert not verdict.problem and verdict.kind == "metrics/official"
    return {row.name: row.note or row.error for row in verdict.rows if not row.passed}


def problem(folder):
    (verdict,) = verify([folder])
    assert not verdict.passed and "cannot run" not in verdict.problem
    return verdict.problem


def test_every_figure_of_the_shipped_files():
    (verdict,) = verify([BUNDLE])
    assert not verdict.problem and [row for row in verdict.rows if not row.passed] == []
    assert {row.name.partition("/")[0] for row in verdict.rows} == METRIC_FUNCTIONS.keys()
    assert len(verdict.rows) > 500 and max(row.error for row in verdict.rows) < 1e-7
    tokens = [row for row in verdict.rows if row.tolerance >= 0.02 and "captions/" in row.name]
    assert len(tokens) > 20 and all(row.error == 0 for row in tokens)


def test_a_wrong_figure_fails_alone(bundle):
    assert failed(bundle) == {}
    edit(
        bundle,
        "vcr",
        lambda file: file["official"].update(q_to_a=file["official"]["q_to_a"] + 2e-6),
    )
    edit(bundle, "nlvr2", lambda file: file["runs"][0].update(consistency=0.25))
    assert failed(bundle).keys() == {"vcr/q_to_a", "nlvr2/main/consistency"}


def test_figures_are_computed_from_the_inputs(bundle):
    edit(bundle, "vcr", lambda file: file["answer_label"].reverse())
    assert "vcr/q_to_a" in failed(bundle)


def test_predictions_that_the_original_refuses_must_be_refused(bundle):
    edit(bundle, "nlvr2", lambda file: file["runs"][0]["prediction_lines"].pop())
    assert failed(bundle)["nlvr2/main/accuracy"] == "not computed"


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda file: file.pop("official"), "lacks an output: KeyError('official')"),
        (lambda file: file.pop("scores"), "lacks an input: KeyError('scores')"),
        (lambda file: file.update(scores=[[[1, 2]]]), "scores has shape [1, 1, 2], expected"),
    ],
)
def test_a_file_of_another_form_is_named(bundle, change, message):
    edit(bundle, "vcr", change)
    assert message in problem(bundle)


def test_files_that_are_no_json_are_named(bundle):
    (bundle / "vcr.json").write_text("{")
    assert "vcr.json: not valid JSON" in problem(bundle)
