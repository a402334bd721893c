"""`vlp-jax evaluate` with another config than the run's, and where nothing can be written."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.training.tiny import SIDE, write_pairs
from vlp_jax.cli.main import main


@pytest.fixture
def copied(run, tmp_path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


LITTLE = [
    "--config.tasks.vqa.evaluate={'x': {'limit': 8, 'baseline_records': 16}}",
    *(f"--config.tasks.{name}=none" for name in ("itc", "itm", "mlm", "retrieval", "near_miss")),
]


def evaluate(workdir: Path, *more: str) -> int:
    return main(["evaluate", "--workdir", str(workdir), *more])


def summary(workdir: Path) -> dict:
    return json.loads((workdir / "summary.json").read_text())


def test_what_is_measured_can_be_changed_after_training(copied):
    assert evaluate(copied, *LITTLE) == 0
    found = summary(copied)
    assert "x_accuracy" in found and "i2t_r1" not in found
    assert evaluate(copied, *LITTLE, "--config.tasks.vqa.evaluate.x.split=novel") == 0
    kept = json.loads((copied / "config.json").read_text())
    assert "x" not in kept["tasks"]["vqa"]["evaluate"]  # the run's own config stays


def test_a_run_can_be_evaluated_on_other_data(copied, tmp_path, capsys):
    path = write_pairs(tmp_path)
    data = ["--config.data.source=json", f"--config.data.path={path}"]
    more = ["--config.tasks.retrieval.evaluate.retrieval.limit=4", "--config.tasks.mlm=none"]
    assert evaluate(copied, *data, *more, f"--config.data.image_size={SIDE}") == 0
    found = summary(copied)
    assert "i2t_r1" in found and "vqa_accuracy" not in found and "mlm_accuracy" not in found


MISTAKES = {
    "split": ("tasks.vqa.evaluate.vqa.split=tests", "vqa.split: source emoji_scenes has no split"),
    "limit": ("tasks.vqa.evaluate.vqa.limit=0", "config.tasks.vqa.evaluate.vqa.limit = 0: must be"),
    "field": ("evaluation.batchsize=3", 'Did you mean "batch_size"?'),
    "model": ("model.text_args.width=32", "config.model.text_args.width cannot be overridden"),
    "words": ("data.vocabulary=fit", "config.data.vocabulary cannot be overridden"),
}


@pytest.mark.parametrize(("override", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_override_is_one_line(run, capsys, override, message):
    assert evaluate(run, f"--config.{override}") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("vlp-jax evaluate: ") and message in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize("content", ["", "{", "[1]", b"\xff\xfe"])
def test_a_damaged_timing_costs_no_evaluation(copied, capsys, content):
    data = content if isinstance(content, bytes) else content.encode()
    (copied / "timing.json").write_bytes(data)
    assert evaluate(copied, *LITTLE) == 0
    assert 'timing.json" is left out: ' in capsys.readouterr().err
    assert "x_accuracy" in summary(copied)


def test_a_folder_that_cannot_be_written_costs_no_evaluation(copied, capsys, monkeypatch):
    before = sorted(copied.iterdir())
    if os.geteuid() == 0:  # whom no permission stops

        def refuse(self, *arguments, **named):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "write_text", refuse)
        monkeypatch.setattr(Path, "mkdir", refuse)
    copied.chmod(0o555)
    try:
        assert evaluate(copied, *LITTLE) == 0
    finally:
        copied.chmod(0o755)
    shown = capsys.readouterr()
    assert "Answers" in shown.out and '"x_accuracy": ' in shown.out
    assert 'summary.json" is not written: Permission denied' in shown.err
    assert 'report.html" is not written: Permission denied' in shown.err
    assert sorted(copied.iterdir()) == before


@pytest.mark.slow
def test_a_damaged_checkpoint_is_left_for_an_older_one_on_request(copied, capsys, caplog):
    (copied / "checkpoints" / "0").rename(copied / "checkpoints" / "1")
    shutil.copytree(copied / "checkpoints" / "1", copied / "checkpoints" / "0")
    for file in (copied / "checkpoints" / "1" / "state").rglob("d/*"):
        file.write_bytes(file.read_bytes()[:50])
    assert evaluate(copied, *LITTLE) == 1
    assert "step 1 is damaged: " in capsys.readouterr().err
    assert evaluate(copied, *LITTLE, "--allow-older") == 0
    assert "step 0 is taken instead" in caplog.text
