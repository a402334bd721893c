"""Tests of `vlp-jax evaluate`."""

import json
import re
import shutil

import pytest

from tests.training.tiny import ROOT
from vlp_jax.cli.main import main


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
    """A copy of the run after `vlp-jax evaluate`."""
    workdir = tmp_path_factory.mktemp("evaluated") / "runs/quickstart"
    shutil.copytree(run, workdir)
    (workdir / "timing.json").write_text('{"data_wait_share": 0.02, "skipped_training_records": 4}')
    (workdir / "metrics.jsonl").write_text('{"step": 2, "loss": 1.0}\n{"step": 4, "lo')
    assert main(["evaluate", "--workdir", str(workdir)]) == 0
    return workdir


def test_the_summary_has_every_figure_with_its_twins(evaluated):
    summary = json.loads((evaluated / "summary.json").read_text())
    for direction in ("i2t", "t2i"):
        for k in (1, 5, 10):
            for suffix in ("", "_itm"):
                name = f"{direction}_r{k}{suffix}"
                assert 0 <= summary[name] <= 1
                chance = summary[f"{name}_chance"]
                if direction == "t2i" or k == 1:
                    assert chance == pytest.approx(k / 16)
                else:  # an image has several captions, and one among the first is enough
                    assert 1 / 16 < chance < k / 16
    for stem in ("near_miss", "vqa", "mlm"):
        figures = [summary[f"{stem}_{kind}"] for kind in ("accuracy", "chance", "blind")]
        assert all(0 <= figure <= 1 for figure in figures)
    assert summary["evaluation_seconds"] > 0 and summary["data_wait_share"] == 0.02
    assert (summary["skipped_records"], summary["skipped_training_records"]) == (0, 4)
    assert "seconds" not in summary  # only the command that trained knows how long all took


def test_the_readme_asks_the_model_about_pictures_that_a_run_leaves(evaluated, monkeypatch):
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    monkeypatch.chdir(evaluated.parents[1])
    made: dict = {}
    exec(block, made)
    assert made["model"].match(made["pictures"], "a red apple").shape == (3,)


def test_the_report_stands_beside_it(evaluated):
    page = (evaluated / "report.html").read_text()
    assert "<html" in page and "data:image/png;base64," in page
    assert "2.0% of stepping time" in page and "“tiny”" in page


@pytest.mark.slow
def test_the_table_is_printed(evaluated, capsys):
    assert main(["evaluate", "--workdir", str(evaluated), "--step", "0", "--teacher"]) == 0
    shown = capsys.readouterr().out
    assert "Masked words" in shown and "summary.json" in shown


def test_what_is_missing_is_named(run, capsys):
    assert main(["evaluate", "--workdir", str(run.with_name("quikstart"))]) == 1
    assert 'Did you mean "quickstart"' in capsys.readouterr().err
    assert main(["evaluate", "--workdir", str(run), "--step", "3"]) == 1
    assert "no checkpoint of step 3" in capsys.readouterr().err
