"""Tests of `vlp-jax train`: what it leaves, its exit status, and what it says of bad input."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.training.tiny import CONFIG, write_pairs
from vlp_jax.cli.main import main
from vlp_jax.training import loop
from vlp_jax.training.loop import DataError, NonFiniteError
from vlp_jax.training.out_of_memory import OutOfMemoryError


def train(workdir: Path, *more: str, argument: str = "light") -> int:
    return main(["train", "--config", f"{CONFIG}:{argument}", "--workdir", str(workdir), *more])


def refused(capsys, workdir: Path, *more: str, **options: str) -> str:
    """Returns the message of a training that must end with status 1."""
    assert train(workdir, *more, **options) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("vlp-jax train: ") and "Traceback" not in shown
    return shown


@pytest.mark.slow
def test_a_run_trains_and_is_timed(tmp_path, capsys):
    workdir = tmp_path / "new" / "run"
    assert train(workdir, "--config.training.steps=2") == 0
    assert "step 2/2  loss " in capsys.readouterr().err
    timing = json.loads((workdir / "timing.json").read_text())
    assert timing["steps"] == 2 and timing["seconds"] > timing["compile_seconds"] > 0
    assert {p.name for p in workdir.iterdir()} >= {"checkpoints", "config.json", "metrics.jsonl"}

    # The resolved config is an experiment of its own, and a finished run has nothing to do.
    again = ["train", "--config", str(workdir / "config.json"), "--workdir", str(workdir)]
    assert main(again) == 0
    assert capsys.readouterr().err == ""
    message = refused(capsys, workdir, "--config.training.steps=2", argument="pairs")
    assert "is of another model or another configuration" in message
    assert "\n  only in the checkpoint: params/heads_vqa/" in message


@pytest.mark.slow
def test_a_diverged_run_ends_with_status_3(tmp_path, monkeypatch, capsys):
    put = loop.put_batch
    poison = lambda batch: batch | {"answer_scores": np.full_like(batch["answer_scores"], np.inf)}
    monkeypatch.setattr(loop, "put_batch", lambda batch, mesh: put(poison(batch), mesh))
    assert train(tmp_path, "--config.training.log_every=3") == 3
    shown = capsys.readouterr().err.splitlines()[-1]
    assert shown.startswith("vlp-jax train: loss, gradient or update was not finite in 3 steps")


FAILURES = {
    3: NonFiniteError("a"), 4: DataError("a"), 6: OutOfMemoryError("a"), 1: ValueError("a")
}  # fmt: skip


@pytest.mark.parametrize(("status", "error"), FAILURES.items())
def test_failures_have_a_status_each(tmp_path, monkeypatch, capsys, status, error):
    def fails(*_):
        raise error

    monkeypatch.setattr(loop, "train", fails)
    assert train(tmp_path) == status
    assert capsys.readouterr().err == "vlp-jax train: a\n"


def test_a_run_that_is_stopped_says_so_by_its_status(tmp_path, monkeypatch):
    stopped = SimpleNamespace(timing=lambda: {"steps": 3}, interrupted_by="SIGTERM")
    monkeypatch.setattr(loop, "train", lambda *_: stopped)
    assert train(tmp_path, "--report") == 75
    assert json.loads((tmp_path / "timing.json").read_text())["steps"] == 3


MISTAKES = {
    "key": ("--config.trainig.steps=3", 'config.trainig: no such field. Did you mean "training"?'),
    "deep key": (
        "--config.model.text_args.widht=3",
        'config.model.text_args.widht: no such field. Did you mean "width"?',
    ),
    "type": ("--config.training.steps=many", "config.training.steps = 'many' (str): expected int"),
    "range": ("--config.training.steps=0", "config.training.steps = 0: must be at least 1"),
    "combination": (
        "--config.training.accumulate=3",
        "config.data.batch_size = 8 is not divisible by config.training.accumulate = 3",
    ),
    "part": ("--config.model.vision=vti", 'unknown vision encoder "vti". Did you mean "vit"?'),
    "head": (
        "--config.model.heads.vqa.kind=vqaa",
        'config.model.heads.vqa: unknown head "vqaa". Did you mean "vqa"?',
    ),
    "task": (
        "--config.tasks.vqaa={}",
        'config.tasks.vqaa: unknown task "vqaa". Did you mean "vqa"?',
    ),
    "moved": (
        "--config.data.question_length=9",
        "config.data.question_length has moved: set config.tasks.vqa.question_length",
    ),
    "batch": (
        "--config.data.batch_size=128",
        "the data set has 64 records, fewer than one batch of 128",
    ),
}


@pytest.mark.parametrize(("override", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_the_config_are_named(tmp_path, capsys, override, message):
    assert message in refused(capsys, tmp_path / "run", override)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_missing_config_names_the_nearest(tmp_path, capsys):
    path = CONFIG.with_name("tiny_confg.py")
    assert main(["train", "--config", str(path), "--workdir", str(tmp_path)]) == 1
    assert f'Did you mean "{CONFIG.name}"' in capsys.readouterr().err


def test_a_workdir_that_is_a_file(tmp_path, capsys):
    (tmp_path / "run").write_text("mine")
    assert "is no folder" in refused(capsys, tmp_path / "run")
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.slow
def test_a_metrics_file_that_cannot_be_opened(tmp_path, capsys):
    (tmp_path / "metrics.jsonl").mkdir()
    assert "metrics.jsonl" in refused(capsys, tmp_path)


def on_pairs(path: Path, workdir: Path, *more: str) -> list[str]:
    data = ["--config.data.source=json", f"--config.data.path={path}"]
    start = ["train", "--config", f"{CONFIG}:pairs", "--workdir", str(workdir)]
    return [*start, *data, "--config.data.vocabulary=bert-base-uncased", *more]


@pytest.mark.slow
def test_your_own_pictures_with_some_unusable_are_counted_in_the_summary(tmp_path, capsys, caplog):
    """An empty caption, a missing picture, a corrupt one; no questions, so no answers."""
    broken = dict(_3={"caption": [" ", ""]}, _5={"image": "gone.png"}, _7={"image": "bad.png"})
    path = write_pairs(tmp_path, **broken)
    (tmp_path / "bad.png").write_bytes(b"GIF89a and no more")
    added = "--config.tasks.vqa={'evaluate': {'vqa': {}}}"
    workdir = tmp_path / "run"
    arguments = on_pairs(path, workdir, added, "--config.training.log_every=3", "--report")
    assert main(arguments) == 0, capsys.readouterr().err
    assert "task vqa is off and trains nothing: source json gives no " in caplog.text
    assert "evaluation near_miss is left out: the model has no head itm" in caplog.text
    assert json.loads((workdir / "timing.json").read_text())["skipped_training_records"] == 3
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["skipped_training_records"] == 3 and summary["skipped_records"] == 0
    assert 0 <= summary["i2t_r1"] <= 1 and summary["seconds"] > 0
    assert "Image → text" in (workdir / "report.html").read_text()
    assert "report.html" in capsys.readouterr().out


BAD_DATA = {
    "missing": (lambda path: path.unlink(), "pairs.json does not exist"),
    "cut short": (
        lambda path: path.write_text(path.read_text()[:-9]),
        "pairs.json: not valid JSON",
    ),
    "key twice": (
        lambda path: path.write_text('[{"image": "1.png", "caption": "a", "caption": "b"}]'),
        'pairs.json: key "caption" appears twice',
    ),
    "no captions": (
        lambda path: write_pairs(path.parent, **{f"_{i}": {"caption": None} for i in range(24)}),
        'pairs.json entry 0: key "caption" is missing',
    ),
    "few": (lambda path: write_pairs(path.parent, 5), "records, fewer than one batch of 8"),
    "empty": (lambda path: path.write_text("[]"), "no entries to use, the list is empty"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_DATA.values(), ids=BAD_DATA)
def test_bad_data_are_named(tmp_path, capsys, spoil, message):
    path = write_pairs(tmp_path)
    spoil(path)
    assert main(on_pairs(path, tmp_path / "run")) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("vlp-jax train: ") and message in shown


def test_pictures_that_are_all_corrupt(tmp_path, capsys):
    path = write_pairs(tmp_path)
    for picture in tmp_path.glob("*.png"):
        picture.write_bytes(b"no picture")
    assert main(on_pairs(path, tmp_path / "run")) == 1
    assert "were tried in a row and none could be used" in capsys.readouterr().err


@pytest.mark.slow
def test_pictures_that_become_unreadable_on_the_way(tmp_path, capsys):
    """The error comes from a thread that reads ahead, and ends the run like any other."""
    path = write_pairs(tmp_path)
    workdir = tmp_path / "run"
    assert main(on_pairs(path, workdir, "--config.training.log_every=3")) == 0
    for picture in tmp_path.glob("*.png"):
        picture.unlink()
    capsys.readouterr()
    assert main(on_pairs(path, workdir, "--config.training.steps=9")) == 1
    assert "none could be used" in capsys.readouterr().err
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["3", "6"]
