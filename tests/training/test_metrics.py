"""Tests of metrics.jsonl and the TensorBoard events."""

import json
import math

import pytest

from vlp_jax.training import metrics
from vlp_jax.training.metrics import MetricsWriter, read_metrics


def write(folder, start, *rows):
    writer = MetricsWriter(folder, start)
    for step, values in rows:
        writer.write(step, values)
    writer.close()
    return [(row["step"], row.get("loss")) for row in read_rows(folder / "metrics.jsonl")]


def test_rows_are_json_lines(tmp_path):
    write(tmp_path, 0, (2, {"loss": 0.5, "accuracy": 1.0}), (4, {"loss": 0.25}))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    wanted = [{"step": 2, "loss": 0.5, "accuracy": 1.0}, {"step": 4, "loss": 0.25}]
    assert [json.loads(line) for line in lines] == wanted


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_become_null(tmp_path, value):
    write(tmp_path, 0, (1, {"loss": value, "rate": 2.0}))
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": null, "rate": 2.0}\n'


def test_a_resumed_run_writes_later_rows_again(tmp_path):
    write(tmp_path, 0, *((step, {"loss": float(step)}) for step in (2, 4, 6, 8)))
    again = write(tmp_path, 5, (6, {"loss": 60.0}))
    assert again == [(2, 2.0), (4, 4.0), (6, 60.0)]
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []


def test_a_row_of_the_resumed_step_stays(tmp_path):
    write(tmp_path, 0, (2, {"loss": 2.0}), (2, {"evaluation/r1": 0.5}), (3, {"loss": 3.0}))
    assert write(tmp_path, 2) == [(2, 2.0), (2, None)]


def test_the_last_line_of_a_killed_process_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "lo')
    assert write(tmp_path, 9, (10, {"loss": 10.0})) == [(1, 1.0), (10, 10.0)]
    assert path.read_text().endswith('}\n{"step": 10, "loss": 10.0}\n')


def test_a_kill_while_rows_are_cut_loses_none(tmp_path, monkeypatch):
    write(tmp_path, 0, (1, {"loss": 1.0}), (2, {"loss": 2.0}))
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        MetricsWriter(tmp_path, 1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_rows_are_on_disk_at_once(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write(1, {"loss": 1.0})
    assert len(read_rows(tmp_path / "metrics.jsonl")) == 1
    writer.close()


def test_no_file_means_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.jsonl") == []


def test_tensorboard_holds_the_same_scalars(tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    write(tmp_path, 0, (3, {"loss": 0.5, "bad": math.nan}))
    (file,) = (tmp_path / "tensorboard").iterdir()
    events = loader.LegacyEventFileLoader(str(file)).Load()
    found = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    assert found == [(3, "loss", 0.5)]


def test_tensorboard_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda name: None)
    assert write(tmp_path, 0, (1, {"loss": 1.0})) == [(1, 1.0)]
    assert not (tmp_path / "tensorboard").exists()
