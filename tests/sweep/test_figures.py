"""Tests of mean and deviation over seeds, beside chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sweep.runs import finish, plan_in
from vlp_jax.sweep import progress, summarise
from vlp_jax.sweep.figures import Spread
from vlp_jax.sweep.states import record_failure, record_start


def summary_of(plan, figures=()):
    return summarise([progress(run) for run in plan.runs], figures)


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=9))
def test_mean_and_sample_deviation_are_numpys(values):
    spread = Spread(tuple(values))
    np.testing.assert_allclose(spread.mean, np.mean(values), atol=1e-9)
    np.testing.assert_allclose(spread.deviation, np.std(values, ddof=1), atol=1e-9)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((), "–"),
        ((0.25,), "0.250"),
        ((0.25, 0.25), "0.250"),
        ((0.2, 0.3), "0.250 ± 0.071"),
        ((1200.0, 1300.0), "1,250.0 ± 70.7"),
    ],
)
def test_a_cell(values, text):
    assert Spread(values).text() == text


def test_figures_over_the_seeds_of_a_group(tmp_path):
    plan = plan_in(tmp_path)
    for run, value in zip(plan.runs[:3], (0.2, 0.4, 0.9)):
        finish(run, vqa_accuracy=value, vqa_chance=0.1, vqa_blind=0.3, seconds=5, note="x")
    record_start(plan.runs[3])
    record_failure(plan.runs[3], "ended with status 1: no")
    summary = summary_of(plan)
    assert summary.figures == ("vqa_accuracy",)  # those that have a chance level
    first, second = summary.groups
    assert (first.done, second.done) == (2, 1)
    assert first.spreads["vqa_accuracy"].mean == pytest.approx(0.3)
    assert first.spreads["vqa_accuracy"].deviation == pytest.approx(0.02**0.5)
    assert second.spreads["vqa_accuracy"].values == (0.9,)
    assert summary.twins["chance"]["vqa_accuracy"].values == (0.1,) * 3
    assert summary.twins["blind"]["vqa_accuracy"].mean == pytest.approx(0.3)
    assert [p.run for p in summary.incomplete] == [plan.runs[3]]


def test_chosen_figures_keep_their_order_and_unknown_ones_are_named(tmp_path):
    plan = plan_in(tmp_path, seeds=(0,), variants=[()])
    finish(plan.runs[0], i2t_r1=0.5, seconds=60, done=True, best=None)
    summary = summary_of(plan, ("seconds", "i2t_r11", "done", "best"))
    assert summary.figures == ("seconds", "i2t_r11", "done", "best")
    assert summary.groups[0].spreads["seconds"].values == (60.0,)
    assert summary.unknown[0] == (
        'no run gave the figure "i2t_r11". Did you mean "i2t_r1"? Known: i2t_r1, seconds'
    )
    assert len(summary.unknown) == 3  # a boolean and a null are no figures


def test_nothing_done_names_no_figure(tmp_path):
    summary = summary_of(plan_in(tmp_path), ("i2t_r1",))
    assert summary.unknown == () and len(summary.incomplete) == 4
    assert summary.groups[0].spreads["i2t_r1"].mean is None
