"""Tests of metrics.jsonl and of the writers beside it."""

import json
import math
import os
import sys
from types import ModuleType

import pytest

from tests.training.tiny import tiny
from vlp_jax.training import writers
from vlp_jax.training.experiment import check_settings
from vlp_jax.training.row_file import RowFile, read_rows
from vlp_jax.training.writers import WRITERS, MetricsLog


def write(folder, start, *rows, names=()):
    log = MetricsLog(folder, tiny("light", training__writers=names), start)
    for step, values in rows:
        log.write(step, values)
    log.close()
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

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        RowFile(tmp_path / "metrics.jsonl", 1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_rows_are_on_disk_at_once(tmp_path):
    rows = RowFile(tmp_path / "rows.jsonl", 0)
    rows.write({"step": 1})
    assert read_rows(tmp_path / "rows.jsonl") == [{"step": 1}]
    rows.close()


def test_no_file_means_no_rows(tmp_path):
    assert read_rows(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("names", [None, ("tensorboard",)])
def test_tensorboard_holds_the_same_scalars(tmp_path, names):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    write(tmp_path, 0, (3, {"loss": 0.5, "bad": math.nan}), names=names)
    (file,) = (tmp_path / "tensorboard").iterdir()
    events = loader.LegacyEventFileLoader(str(file)).Load()
    found = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    assert found == [(3, "loss", 0.5)]


def test_tensorboard_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(writers.importlib.util, "find_spec", lambda name: None)
    assert write(tmp_path, 0, (1, {"loss": 1.0}), names=None) == [(1, 1.0)]
    assert not (tmp_path / "tensorboard").exists()
    with pytest.raises(ValueError, match='names "tensorboard", which is not installed: pip'):
        check_settings(tiny("light", training__writers=("tensorboard",)))


def test_an_unknown_writer_is_named_at_the_start():
    with pytest.raises(ValueError, match='unknown metrics writer "wandbb". Did you mean "wandb"'):
        check_settings(tiny("light", training__writers=("wandbb",)))


class WeightsAndBiases(ModuleType):
    """Stands in for the package: notes what it is told."""

    def __init__(self):
        super().__init__("wandb")
        self.starts, self.rows, self.finished = [], [], 0

    def init(self, **options):
        self.starts.append(options)
        return self

    def log(self, row, step):
        self.rows.append((step, row))

    def finish(self):
        self.finished += 1


def test_all_starts_in_a_workdir_are_one_run_of_weights_and_biases(tmp_path, monkeypatch):
    package = WeightsAndBiases()
    monkeypatch.setitem(sys.modules, "wandb", package)
    write(tmp_path, 0, (2, {"loss": 0.5, "bad": math.nan}), names="wandb")
    write(tmp_path, 2, (4, {"loss": 0.25}), names="wandb")
    assert package.rows == [(2, {"loss": 0.5}), (4, {"loss": 0.25})] and package.finished == 2
    first, second = package.starts
    assert first == second and len(first["id"]) == 32 and first["resume"] == "allow"
    assert first["name"] == "tiny" and first["config"]["data"]["batch_size"] == 8


class Scalars:
    """A writer as CLU has them."""

    def __init__(self, workdir, config):
        self.made, self.rows = (workdir, config.name), []

    def write_scalars(self, step, scalars):
        self.rows.append((step, scalars))

    def close(self):
        self.rows.append("closed")


def test_a_writer_of_a_plugin_gets_the_rows(tmp_path, monkeypatch):
    made = []
    monkeypatch.setitem(WRITERS, "mine", lambda *given: made.append(Scalars(*given)) or made[0])
    check_settings(tiny("light", training__writers="mine"))
    write(tmp_path, 0, (2, {"loss": 0.5}), names="mine")
    assert made[0].made == (tmp_path, "tiny") and made[0].rows == [(2, {"loss": 0.5}), "closed"]
