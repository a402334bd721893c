"""The summary: flat sorted names, and nothing that JSON cannot hold."""

import json

import numpy as np
import pytest

from vlp_jax.report.summary import clean_summary, write_summary


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
