"""Tests of what a run prints, with and without a terminal."""

import sys

import pytest

from vlp_jax.training.progress import Progress, describe, time_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0:00"), (0.9, "0:00"), (59, "0:59"), (61, "1:01"), (3600, "1:00:00"), (7325, "2:02:05")],
)
def test_time_text(seconds, text):
    assert time_text(seconds) == text


def test_a_line_names_losses_speed_and_waiting():
    values = {"loss": 1.5, "itc_loss": 1.0, "itm_loss": 0.5, "gradient_norm": 9.0}
    text = describe(values | {"data_wait_share": 0.0432}, 123.4)
    assert text == "loss 1.500  (itc 1.000, itm 0.500)  123 examples/s  data wait 4.3%"
    assert "not finite 25.0% of steps" in describe(values | {"non_finite_share": 0.25}, 1.0)
    assert "not finite" not in describe(values | {"non_finite_share": 0.0}, 1.0)
    assert describe({}, 1.0).startswith("loss -")


def test_plain_lines_without_a_terminal(capsys):
    progress = Progress(10, 0)
    progress.advance(1)
    progress.report(2, {"loss": 1.0}, 8.0, 63)
    progress.say("hello [bold]")
    progress.close()
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["step 2/10  loss 1.000  ()  8 examples/s  1:03 left", "hello [bold]"]


def test_other_processes_are_quiet(capsys):
    progress = Progress(10, 0, quiet=True)
    progress.report(2, {"loss": 1.0}, 8.0, 63)
    progress.say("hello")
    progress.close()
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    progress = Progress(10, 4)
    progress.report(6, {"loss": 1.25}, 8.0, 63)
    progress.say("saved [it]")
    progress.close()
    shown = capsys.readouterr().err
    assert "6/10" in shown and "loss 1.250" in shown and "saved [it]" in shown
