"""Tests of the table as Markdown and as CSV."""

import csv
import io

from tests.sweep.runs import finish, plan_in
from vlp_jax.sweep import progress, summarise
from vlp_jax.sweep.states import LOG, record_failure, record_start
from vlp_jax.sweep.table import comma_separated, markdown


def sweep(tmp_path):
    """Two groups: both seeds of the first are done; of the second one failed, one is waiting."""
    plan = plan_in(tmp_path)
    finish(plan.runs[0], i2t_r1=0.2, i2t_r1_chance=0.1)
    finish(plan.runs[1], i2t_r1=0.4, i2t_r1_chance=0.1)
    record_start(plan.runs[2])
    record_failure(plan.runs[2], "ended with status 3: diverged")
    return plan, summarise([progress(run) for run in plan.runs])


def test_markdown(tmp_path):
    plan, summary = sweep(tmp_path)
    assert markdown(summary) == (
        "| run | seeds | i2t_r1 |\n"
        "| --- | ---: | ---: |\n"
        "| a | 2/2 | 0.300 ± 0.141 |\n"
        "| a training.steps=8 | 0/2 | – |\n"
        "| *chance* |  | 0.100 |\n"
        "\nNot done:\n\n"
        "* a training.steps=8, seed 0: failed: ended with status 3: diverged "
        f"(`{plan.runs[2].workdir / LOG}`)\n"
        "* a training.steps=8, seed 1: not started\n"
    )


def test_csv(tmp_path):
    plan, summary = sweep(tmp_path)
    first, second = csv.DictReader(io.StringIO(comma_separated(summary)))
    assert first["run"] == "a" and first["config"] == str(tmp_path / "a.py")
    assert float(first["i2t_r1_mean"]) == 0.30000000000000004 and first["i2t_r1_n"] == "2"
    assert (first["seeds"], first["done"], first["failed"]) == ("0 1", "2", "0")
    assert second["settings"] == "training.steps=8" and second["failed"] == "1"
    assert second["i2t_r1_mean"] == second["i2t_r1_std"] == "" and second["i2t_r1_n"] == "0"


def test_a_setting_with_a_bar_keeps_the_columns(tmp_path):
    plan = plan_in(tmp_path, seeds=(0,), variants=[("data.path=a|b",)])
    finish(plan.runs[0], i2t_r1=0.5)
    row = markdown(summarise([progress(plan.runs[0])], ["i2t_r1"])).splitlines()[2]
    assert row == "| a data.path=a\\|b | 1/1 | 0.500 |"
