"""Tests of where a run's time went: it adds up, over every start."""

import json
from types import SimpleNamespace

import pytest

from vlp_jax.training import accounts as module
from vlp_jax.training import clock
from vlp_jax.training.accounts import ACCOUNTS, Accounts, carried_over, in_words, wait_share
from vlp_jax.training.clock import Clock
from vlp_jax.training.row_file import read_rows


@pytest.fixture
def now(monkeypatch) -> list[float]:
    """The time that all clocks give; set its only entry."""
    value = [1000.0]
    time = SimpleNamespace(perf_counter=lambda: value[0], time=lambda: 5e8 + value[0])
    monkeypatch.setattr(clock, "time", time)
    monkeypatch.setattr(module, "time", time)
    return value


def test_what_comes_after_the_checkpoint_is_lost_and_then_nothing_runs():
    rows = [
        {"step": 0, "at": 10.0, "seconds": {"init": 10.0}},
        {"step": 4, "at": 15.0, "seconds": {"init": 10.0, "step": 5.0}},
        {"step": 6, "at": 19.0, "seconds": {"init": 10.0, "step": 9.0}},
    ]
    seconds = {"init": 10.0, "step": 5.0, "lost": 4.0, "stopped": 11.0}
    assert carried_over(rows, 4, 30.0) == carried_over(rows, 5, 30.0) == seconds
    assert carried_over(rows, 6, 30.0) == {"init": 10.0, "step": 9.0, "lost": 0.0, "stopped": 11.0}
    assert carried_over([], 0, 30.0) == {}


def test_two_starts_add_up(tmp_path, now):
    """The first is killed at step 6, two seconds after its last row, and step 4 was saved."""
    clock = Clock()
    now[0] += 3.0
    clock.add("init", clock.total())
    accounts = Accounts(clock, tmp_path, 0)
    for step in (2, 4, 6):
        now[0] += 1.5
        clock.add("step", 1.25)
        accounts.write(step)
    now[0] += 2.0
    accounts.close()

    now[0] += 60.0
    clock = Clock()
    now[0] += 5.0
    clock.add("init", clock.total())
    accounts = Accounts(clock, tmp_path, 4)
    now[0] += 4.0
    clock.add("step", 3.0)
    clock.add("data", 1.0)
    accounts.write(8)
    figures = accounts.figures()
    accounts.close()

    assert figures["step_seconds"] == 2 * 1.25 + 3.0 and figures["init_seconds"] == 3.0 + 5.0
    assert (figures["lost_seconds"], figures["stopped_seconds"]) == (1.5, 62.0)
    assert figures["other_seconds"] == pytest.approx(2 * 0.25)
    assert figures["run_seconds"] == now[0] - 1000.0
    assert figures["goodput"] == 5.5 / (now[0] - 1000.0)
    assert figures["data_wait_share"] == 1.0 / 6.5
    rows = read_rows(tmp_path / ACCOUNTS)
    assert [row["step"] for row in rows] == [0, 2, 4, 4, 8]
    starts = [row["at"] - sum(row["seconds"].values()) for row in rows]
    assert starts == pytest.approx([5e8 + 1000.0] * 5)
    assert json.dumps(figures)


def test_other_processes_keep_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module.jax, "process_index", lambda: 1)
    accounts = Accounts(Clock(), tmp_path, 0)
    accounts.write(3)
    accounts.close()
    assert not list(tmp_path.iterdir())


def test_a_line_names_what_took_a_share():
    seconds = dict.fromkeys(module.PARTS, 0.0) | {"step": 90.0, "compile": 8.0, "lost": 2.0}
    figures = {f"{part}_seconds": value for part, value in seconds.items()}
    text = in_words(figures | {"run_seconds": 100.0})
    parts = "steps 90.0%, compiling 8.0%, lost after a checkpoint 2.0%"
    assert text == f"1:40 since the first start: {parts}"
    speed = {"run_seconds": 100.0, "examples_per_second_per_chip": 17.6, "mfu": 0.4321}
    assert in_words(figures | speed) == f"{text}; 18 examples/s a chip; MFU 43.2%"


def test_the_share_of_waiting_is_of_stepping_and_waiting():
    assert wait_share({"data": 1.0, "step": 3.0, "checkpoint": 9.0}) == 0.25
    assert wait_share({}) == 0.0
