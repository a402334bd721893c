"""Tests of launch/sweep.py, with real trainings of the tiny experiment."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from tests.sweep.runs import config_file, finish, plan_in
from tests.training.tiny import CONFIG, ROOT, environment

spec = importlib.util.spec_from_file_location("sweep", ROOT / "launch" / "sweep.py")
sweep = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sweep)


@pytest.mark.slow
def test_one_run_trains_and_one_fails(tmp_path, capsys, monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    arguments = ["--config", f"{CONFIG}:light", "--out", str(tmp_path), "--set", "training.steps=2"]
    variants = ["--override", "model.vision=vti", "--override"]
    assert sweep.main([*arguments, *variants]) == 1
    shown = capsys.readouterr().out
    assert "[1/2] tiny_config:light model.vision=vti, seed 0: failed: ended with status 1" in shown
    table = (tmp_path / "table.md").read_text()
    assert 'unknown vision encoder "vti". Did you mean "vit"?' in table
    assert "| tiny_config:light | 1/1 | " in table and "vqa_accuracy" in table
    assert (tmp_path / "table.csv").exists() and (tmp_path / "plot.png").exists()
    # What is done is not run again.
    summary = tmp_path / "tiny_config_light" / "seed_0" / "summary.json"
    assert json.loads(summary.read_text())["steps"] == 2
    before = summary.stat().st_mtime_ns
    assert sweep.main([*arguments, "--override"]) == 0
    assert "seed 0: done already" in capsys.readouterr().out
    assert summary.stat().st_mtime_ns == before


def described(folder: Path) -> list[str]:
    """Returns the command line of `plan_in(folder)`."""
    variants = ["--override", "--override", "training.steps=8"]
    config = ["--config", str(folder / "a.py"), "--out", str(folder / "out")]
    return [*config, *variants, "--seeds", "0", "1"]


def test_summarise_runs_nothing(tmp_path, capsys):
    plan = plan_in(tmp_path)
    finish(plan.runs[0], i2t_r1=0.5)
    arguments = [*described(tmp_path), "--summarise", "--figures", "i2t_r1"]
    assert sweep.main(arguments) == 1  # three are missing
    assert "* a, seed 1: not started" in capsys.readouterr().out
    for run in plan.runs[1:]:
        finish(run, i2t_r1=0.5)
    assert sweep.main(arguments) == 0
    assert "| a training.steps=8 | 2/2 | 0.500 |" in (tmp_path / "out" / "table.md").read_text()
    assert sweep.main([*arguments[:-1], "i2t_r2"]) == 1
    assert 'no run gave the figure "i2t_r2". Did you mean "i2t_r1"?' in capsys.readouterr().err


def test_a_task_of_the_array_makes_its_run_alone(tmp_path, capsys, monkeypatch):
    plan = plan_in(tmp_path)
    made = []
    monkeypatch.setattr(sweep, "execute", lambda runs, say: made.extend(runs))
    assert sweep.main([*described(tmp_path), "--slurm", "gres=gpu:1", "time=1:00:00"]) == 0
    script = (tmp_path / "out" / "sweep.sbatch").read_text()
    assert script in capsys.readouterr().out
    command = script.splitlines()[-1]
    assert command.startswith(f"exec {sys.executable} {ROOT / 'launch' / 'sweep.py'} --config ")
    words = command.split()[3:-2]
    assert words == ["--config", str(tmp_path / "a.py"), *words[2:]] and "--slurm" not in words
    assert sweep.main([*words, "--index", "3"]) == 1  # nothing was made, so it is not done
    assert made == [plan.runs[3]]
    assert not (tmp_path / "out" / "table.md").exists()


def test_mistakes_are_one_sentence(tmp_path, capsys):
    path = config_file(tmp_path / "a.py")
    arguments = ["--config", path, "--out", str(tmp_path)]
    assert sweep.main([*arguments, "--index", "1"]) == 1
    assert capsys.readouterr().err == "sweep: index 1: the sweep has 1 runs, 0 to 0\n"
    assert sweep.main([*arguments, "--slurm", "array=1"]) == 1
    assert "the sweep sets --array itself" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sweep.main([*arguments, "--index", "0", "--summarise"])
