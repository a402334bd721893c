"""The summary: flat sorted names, twins, and nothing that JSON cannot hold."""

import json

import numpy as np
import pytest

from vlp_jax.metrics.figures import figure, twin
from vlp_jax.report.summary import clean_summary, in_groups, write_summary
from vlp_jax.tasks.outcome import TableRow


def test_twins_of_accuracies_and_other_figures():
    assert twin("scene_vqa_accuracy", "blind") == "scene_vqa_blind"
    assert twin("i2t_r1_itm", "chance") == "i2t_r1_itm_chance"
    assert figure("mlm_accuracy", 0.5, 0.1) == {"mlm_accuracy": 0.5, "mlm_chance": 0.1}
    assert figure("mlm_accuracy", 0.5, 0.1, 0.3, "n-gram") == {
        "mlm_accuracy": 0.5,
        "mlm_chance": 0.1,
        "mlm_blind": 0.3,
        "mlm_blind_name": "n-gram",
    }


def test_file_is_sorted_finite_and_warns(tmp_path):
    figures = {"seconds": np.float32(2.5), "b": float("nan"), "a": np.int64(3), "c": np.inf}
    path = tmp_path / "new" / "summary.json"
    returned = write_summary(path, figures | {"name": "x", "warnings": ["earlier"]})
    text = path.read_text()
    assert json.loads(text) == returned
    assert list(returned) == ["a", "b", "c", "name", "seconds", "warnings"]
    assert [returned[name] for name in ("a", "b", "c", "seconds")] == [3, None, None, 2.5]
    assert returned["warnings"] == [
        "earlier",
        "b was nan and is written as null",
        "c was inf and is written as null",
    ]
    assert [p.name for p in path.parent.iterdir()] == ["summary.json"]


def test_a_refused_summary_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_summary(path, {"a": 1})
    with pytest.raises(ValueError):
        write_summary(path, {"a": [1, 2]})
    assert json.loads(path.read_text())["a"] == 1


@pytest.mark.parametrize(
    "figures, message",
    [
        ({"i2t/r1": 0.1}, 'name "i2t/r1"'),
        ({"retrieval": {"r1": 0.1}}, '"retrieval" is of type dict'),
        ({"x": np.ones(3)}, '"x" is of type ndarray'),
    ],
)
def test_bad_figures_are_named(figures, message):
    with pytest.raises(ValueError, match=message):
        clean_summary(figures)


def test_cells_as_text():
    row = TableRow("m", 0.684)
    shown = {0.684: "68.4 %", 0.002: "0.20 %", 0.0: "0.0 %", 1.0: "100.0 %"}
    assert {value: row.text(value) for value in shown} == shown
    assert [row.text(v) for v in (None, float("nan"))] == ["–", "–"]
    assert TableRow("m", 1.0, unit="number").text(1234.5) == "1,234.5"
    with pytest.raises(ValueError, match='unit is "share"'):
        TableRow("m", 1.0, unit="share")


def test_rows_stand_in_groups_whatever_ran_first():
    given = [("d", "Language"), ("m", "Mine"), ("b", "Retrieval"), ("a", "Retrieval"), ("x", "A")]
    rows = in_groups([TableRow(name, 0.5, group=group) for name, group in given])
    assert [row.metric for row in rows] == ["b", "a", "d", "x", "m"]
