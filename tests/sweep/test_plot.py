"""Tests of the plot: a readable PNG, or none where there is nothing to draw."""

import cv2
import numpy as np

from tests.sweep.runs import finish, plan_in
from vlp_jax.sweep import progress, summarise
from vlp_jax.sweep.plot import write_plot


def test_a_picture_with_a_panel_for_each_figure(tmp_path):
    plan = plan_in(tmp_path)
    for run, value in zip(plan.runs[:3], np.random.default_rng().random(3)):
        finish(run, i2t_r1=value, i2t_r1_chance=0.1, seconds=100 * value)
    widths = []
    for names in (["i2t_r1"], ["i2t_r1", "seconds", "missing"]):
        summary = summarise([progress(run) for run in plan.runs], names)
        assert write_plot(summary, tmp_path / "plot.png")
        picture = cv2.imread(str(tmp_path / "plot.png"))
        assert picture.std() > 1  # something is drawn
        widths.append(picture.shape[1])
    assert widths[1] > widths[0]


def test_nothing_to_draw(tmp_path):
    summary = summarise([progress(run) for run in plan_in(tmp_path).runs], ["i2t_r1"])
    assert not write_plot(summary, tmp_path / "plot.png")
    assert not (tmp_path / "plot.png").exists()
