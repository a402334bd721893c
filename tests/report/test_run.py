"""The report of a run: its facts, its learning curves, and one page of all."""

import datetime
import json

import numpy as np
import pytest

import vlp_jax
from tests.training.tiny import tiny
from vlp_jax.report.content import Curve
from vlp_jax.report.page import write_report
from vlp_jax.report.run import learning_curves, make_report
from vlp_jax.tasks import TASKS, build_tasks
from vlp_jax.tasks.naming import metric_chances, metric_titles
from vlp_jax.tasks.outcome import AnswerExample, Outcome, TableRow
from vlp_jax.training.accounts import PARTS


def test_learning_curves_leave_gaps_and_half_lines_out(tmp_path):
    rows = [
        {"step": 2, "itc_loss": 3.0, "itm_accuracy": 0.5},
        {"step": 2, "evaluation/i2t_r1": 0.1},
        {"step": 4, "itc_loss": None, "itm_accuracy": 0.75},
        {"step": 6, "itc_loss": 1.0},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 8, "itc_lo')
    titles = metric_titles({"itc": TASKS["itc"](), "itm": TASKS["itm"]()})
    curves = learning_curves(tmp_path, titles)
    assert curves.keys() == {"Contrast (ITC) loss", "Matching accuracy"}
    loss, accuracy = curves.values()
    assert (loss.steps, loss.values, loss.percent) == ([2, 6], [3.0, 1.0], False)
    assert (accuracy.steps, accuracy.values, accuracy.percent) == ([2, 4], [0.5, 0.75], True)
    assert learning_curves(tmp_path / "nothing", titles) == {}
    (_, accuracy) = learning_curves(tmp_path, titles, {"itm_accuracy": 0.5}).values()
    assert (accuracy.reference, loss.reference) == (0.5, None)


def test_what_guessing_reaches_is_said_by_the_tasks():
    config = tiny("", model__heads__vqa={"classes": 5}, model__text_args__vocab_size=200)
    chances = metric_chances(build_tasks(config), config)
    assert chances == {
        "itc_accuracy": 1 / 8,
        "itm_accuracy": 2 / 3,
        "vqa_accuracy": 1 / 5,
        "mlm_accuracy": 1 / 200,
    }


def test_a_curve_has_a_value_for_each_step():
    with pytest.raises(ValueError, match="steps has 2, values has 1"):
        Curve([0, 1], [1.0])


def test_the_report_of_a_run(tmp_path):
    (tmp_path / "config.json").write_text('{"name": "tiny"}')
    image = np.zeros((4, 4, 3), np.uint8)
    outcome = Outcome(
        {"i2t_r1_itm": 0.5, "skipped_records": 7},
        [TableRow("Image → text R@1, re-ranked (test)", 0.5)],
        answers=[AnswerExample(image, "what is it?", "a dog", "a cat", 0.0)],
        attribution=["Twemoji", "Twemoji"],
    )
    timing = {"seconds": 90.0, "data_wait_share": 0.034, "warnings": ["mlm was nan"]}
    timing |= {f"{part}_seconds": 0.0 for part in PARTS}
    timing |= {"run_seconds": 80.0, "step_seconds": 60.0, "compile_seconds": 20.0}
    params = {"a": np.zeros((1000, 500)), "b": np.zeros(1000)}
    report = make_report(tmp_path, tiny(), outcome, params, timing)
    made = report.facts.pop("Made")
    assert made.startswith(f"{datetime.date.today()} by vlp_jax {vlp_jax.__version__}")
    assert report.facts == {
        "Model": "vit + bert + cross_attention, 0.5 M parameters",
        "Tasks": "itc, itm, mlm, vqa, retrieval, near_miss",
        "Data": "emoji_scenes",
        "Steps": "6 × 8 examples",
        "Time": "1.5 min, installation not counted",
        "Waiting for data": "3.4% of stepping time",
        "Records skipped": "7",
    }
    assert report.attribution == ["Twemoji"]
    assert report.spent == {"steps": 60.0, "compiling": 20.0}
    write_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text()
    for text in ("Image → text R@1, re-ranked (test)", "mlm was nan", "Twemoji", "0.5 M param"):
        assert text in page
    assert "Of the 1:20 since the training" in page
    assert '<td>compiling</td><td class="n">0:20</td><td class="n">25.0%</td>' in page
    assert "what is it?" in page
    assert "http://" not in page.replace("http://www.w3.org", "")  # nothing is fetched
