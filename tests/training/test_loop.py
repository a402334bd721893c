"""Tests of the loop: files, resuming, divergence, interruption, evaluation, and bad data."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.training.tiny import differing, tiny, write_pairs
from vlp_jax.config import load_config
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.sources import SOURCES
from vlp_jax.encoders.vit import ViT
from vlp_jax.training import loop, run_log
from vlp_jax.training.checkpoint import open_store
from vlp_jax.training.experiment import Experiment
from vlp_jax.training.loop import NonFiniteError, train
from vlp_jax.training.progress import Progress
from vlp_jax.training.row_file import read_rows
from vlp_jax.training.workdir_lock import only_trainer

LONGER = dict(training__steps=9, optimizer__schedule="constant", optimizer__warmup_steps=0)
SHORTER = LONGER | dict(training__steps=6)


def rows_of(workdir: Path) -> list[dict]:
    return read_rows(workdir / "metrics.jsonl")


def checkpoints(workdir: Path) -> list[int]:
    return sorted(int(p.name) for p in (workdir / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of six steps: workdir and result."""
    workdir = tmp_path_factory.mktemp("loop") / "run"
    return workdir, train(tiny("light", **SHORTER), workdir)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run, to go on from."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


@pytest.fixture
def at_step(monkeypatch):
    """Lets a test do something to the batch of a step: `at_step({4: change})`."""
    put = loop.put_batch

    def install(changes: dict, start: int = 0):
        steps = iter(range(start, 10_000))
        change = lambda batch: changes.get(next(steps), lambda b: b)(batch)
        monkeypatch.setattr(loop, "put_batch", lambda batch, mesh: put(change(batch), mesh))

    return install


def poison(batch: dict) -> dict:
    return batch | {"answer_scores": np.full_like(batch["answer_scores"], np.nan)}


def interrupt(batch: dict) -> dict:
    os.kill(os.getpid(), signal.SIGTERM)
    return batch


@pytest.mark.slow
def test_a_run_leaves_its_files(finished):
    workdir, result = finished
    assert (result.step, result.interrupted_by, int(result.state.step)) == (6, None, 6)
    rows = rows_of(workdir)
    assert [row["step"] for row in rows] == [2, 4, 6]
    names = {"step", "loss", "vqa_loss", "vqa_accuracy", "gradient_norm", "learning_rate"}
    assert all(set(row) == names | {"non_finite_share"} for row in rows)
    assert {row["learning_rate"] for row in rows} == {np.float32(1e-3)}
    assert checkpoints(workdir) == [3, 6]
    assert load_config(str(workdir / "config.json")) == result.experiment.config
    assert list((workdir / "tensorboard").iterdir())


def test_timing_says_where_the_time_went(finished):
    timing = finished[1].timing()
    assert timing["steps"] == 6 and timing["skipped_training_records"] == 0
    assert timing["compile_seconds"] > 0 and timing["step_seconds"] > 0
    assert 0 <= timing["data_wait_share"] <= 1 and 0 < timing["goodput"] < 1
    assert timing["examples_per_second_per_chip"] > 0
    assert json.dumps(timing)


class Start:
    """What a run does before its first step: counts, and the clock as the loop sees it."""

    def __init__(self, monkeypatch, compile_seconds: float = 0.0):
        self.opened = self.first_batches = self.traces = 0
        self.traces_before_steps, self.left, passed = None, [], [0.0]
        source, encode = SOURCES["emoji_scenes"], ViT.__call__
        make, compiled = Pipeline._make, Experiment.compiled_steps

        def open_counted(**options):
            self.opened += 1
            return source(**options)

        def make_counted(pipeline, step):
            self.first_batches += step == 0
            return make(pipeline, step)

        def encode_counted(module, *args, **options):
            self.traces += 1
            return encode(module, *args, **options)

        def compile_slowly(experiment, state):
            self.traces_before_steps = self.traces
            passed[0] += compile_seconds
            return compiled(experiment, state)

        def report(progress, step, values, speed, seconds_left):
            self.left.append(seconds_left)

        clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + passed[0])
        open_counted.split_names = source.split_names
        monkeypatch.setitem(SOURCES, "emoji_scenes", open_counted)
        monkeypatch.setattr(Pipeline, "_make", make_counted)
        monkeypatch.setattr(ViT, "__call__", encode_counted)
        monkeypatch.setattr(Experiment, "compiled_steps", compile_slowly)
        monkeypatch.setattr(Progress, "report", report)
        monkeypatch.setattr(run_log, "time", clock)


@pytest.mark.slow
def test_a_run_opens_reads_and_traces_no_more_than_it_needs(monkeypatch, tmp_path):
    start = Start(monkeypatch)
    train(tiny("light", training__steps=2), tmp_path)
    assert (start.opened, start.first_batches) == (1, 1)
    # Once for the shapes and once to draw parameters; the rest are the steps themselves.
    assert 1 <= start.traces_before_steps <= 2 < start.traces


@pytest.mark.slow
def test_the_first_estimate_of_the_time_left_does_not_count_compilation(monkeypatch, tmp_path):
    start = Start(monkeypatch, compile_seconds=10_000.0)
    train(tiny("light", training__log_every=2), tmp_path)
    assert len(start.left) == 3 and max(start.left) < 5_000


def test_the_same_command_again_does_nothing(finished, copied):
    files = lambda: [(copied / name).read_bytes() for name in ("config.json", "metrics.jsonl")]
    before = files()
    again = train(tiny("light", **SHORTER), copied)
    assert again.step == 6 and differing(again.state, finished[1].state) == []
    assert files() == before


@pytest.mark.slow
def test_going_on_equals_going_through(finished, copied, tmp_path):
    """In the middle of a line's window, too: step 5 of 4 to 6."""
    through = train(tiny("light", **LONGER), tmp_path / "through")
    shutil.rmtree(copied / "checkpoints" / "6")  # the newest left is step 3
    resumed = train(tiny("light", **LONGER), copied)
    assert differing(resumed.state, through.state) == []
    assert (copied / "metrics.jsonl").read_text() == (
        tmp_path / "through" / "metrics.jsonl"
    ).read_text()


@pytest.mark.slow
def test_a_signal_saves_and_stops_and_the_run_goes_on(finished, at_step, tmp_path, capsys):
    config = tiny("light", **SHORTER)
    at_step({4: interrupt})
    stopped = train(config, tmp_path)
    assert (stopped.step, stopped.interrupted_by) == (5, "SIGTERM")
    assert 5 in checkpoints(tmp_path)
    assert "SIGTERM: saved step 5; the same command goes on from there" in capsys.readouterr().err
    at_step({})
    resumed = train(config, tmp_path)
    assert resumed.step == 6 and differing(resumed.state, finished[1].state) == []
    assert rows_of(tmp_path) == rows_of(finished[0])


@pytest.mark.slow
def test_a_run_resumes_with_another_learning_rate(finished, copied):
    train(tiny("light", **LONGER | dict(optimizer__learning_rate=5e-4)), copied)
    rows = rows_of(copied)
    assert rows[:3] == rows_of(finished[0])
    assert [row["learning_rate"] for row in rows[3:]] == [np.float32(5e-4)]
    assert json.loads((copied / "config.json").read_text())["optimizer"]["learning_rate"] == 5e-4


OTHER_MODELS = {
    "deeper": (
        dict(model__text_args__layers=2),
        "params/text/layers/feed_forward/contract/bias: checkpoint (1, 16), model (2, 16)",
    ),
    "shallower": (dict(model__text_args__layers=0), "only in the checkpoint: params/text/layers/"),
    "wider": (
        dict(model__vision_args__mlp_width=64),
        "params/vision/layers/expand/kernel: checkpoint (1, 16, 32), model (1, 16, 64)",
    ),
    "with a teacher": (dict(training__momentum=0.9), "missing in the checkpoint: teacher/fusion/"),
}


@pytest.mark.parametrize(("overrides", "line"), OTHER_MODELS.values(), ids=OTHER_MODELS)
def test_a_run_does_not_resume_with_another_model(copied, overrides, line):
    before = (copied / "config.json").read_text(), (copied / "metrics.jsonl").read_text()
    with pytest.raises(ValueError, match="is of another model or another configuration") as error:
        train(tiny("light", **SHORTER | overrides), copied)
    assert "checkpoint of step 6" in str(error.value) and f"\n  {line}" in str(error.value)
    after = (copied / "config.json").read_text(), (copied / "metrics.jsonl").read_text()
    assert after == before and checkpoints(copied) == [3, 6]


@pytest.mark.slow
def test_a_diverged_run_stops_and_keeps_its_checkpoint(at_step, tmp_path):
    at_step({step: poison for step in range(3, 9)})
    with pytest.raises(NonFiniteError) as error:
        train(tiny("light", **LONGER), tmp_path)
    text = str(error.value)
    assert "not finite in 3 steps in a row up to step 6" in text
    assert "config.optimizer.learning_rate" in text
    assert "goes on from the checkpoint of step 3, of which no later step has shown" in text
    assert [row["non_finite_share"] for row in rows_of(tmp_path)] == [0.0, 0.5, 1.0]
    assert "loss" not in rows_of(tmp_path)[-1]
    assert 3 in checkpoints(tmp_path)


@pytest.mark.slow
def test_divergence_in_the_last_steps_is_no_success(at_step, tmp_path):
    at_step({step: poison for step in range(9)})
    with pytest.raises(NonFiniteError, match="up to step 9; .* no checkpoint was saved yet"):
        settings = dict(training__log_every=50, training__checkpoint_every=50)
        train(tiny("light", **LONGER | settings), tmp_path)


@pytest.mark.slow
def test_a_few_bad_steps_are_survived(at_step, tmp_path):
    at_step({1: poison, 4: poison})
    result = train(tiny("light", **SHORTER), tmp_path)
    assert result.step == 6 and int(result.state.bad_steps) == 0
    assert [row["non_finite_share"] for row in rows_of(tmp_path)] == [0.5, 0.0, 0.5]
    assert all(np.isfinite(row["loss"]) for row in rows_of(tmp_path))


class Figures:
    """Stands in for the evaluation; gives the figures of the list one after the other."""

    def __init__(self, *values: float):
        self.values, self.steps = iter(values), []

    def __call__(self, experiment, params) -> dict[str, float]:
        assert "text" in params and "vqa" in experiment.config.model.heads
        return {"vqa_accuracy": next(self.values), "other": 1.0}


@pytest.mark.slow
def test_the_best_evaluated_step_is_kept(tmp_path, capsys):
    overrides = LONGER | dict(
        training__evaluate_every=2, training__keep_checkpoints=1, evaluation__best="vqa_accuracy"
    )
    train(tiny("light", **overrides), tmp_path, Figures(0.3, 0.8, float("nan"), 0.5))
    # 9 is the newest, and was not evaluated; 8 is the newest that is known to be good.
    assert checkpoints(tmp_path) == [4, 8, 9]
    found = [(r["step"], r["evaluation/vqa_accuracy"]) for r in rows_of(tmp_path) if len(r) == 3]
    assert found == [(2, 0.3), (4, 0.8), (6, None), (8, 0.5)]
    assert "step 4  evaluation: vqa_accuracy 0.800  other 1.000" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("best", [None, "vqa_accuracy"])
def test_an_evaluation_that_fails_costs_no_checkpoint(tmp_path, best):
    overrides = SHORTER | dict(training__evaluate_every=3, evaluation__best=best)
    with pytest.raises(StopIteration):
        train(tiny("light", **overrides), tmp_path, Figures())
    assert checkpoints(tmp_path) == [3]


@pytest.mark.slow
def test_a_checkpoint_is_started_before_the_evaluation(tmp_path):
    def evaluate(experiment, params):
        started.append([p.name.split(".")[0] for p in (tmp_path / "checkpoints").iterdir()])
        return {}

    started = []
    train(tiny("light", **SHORTER | dict(training__evaluate_every=3)), tmp_path, evaluate)
    assert [sorted(names) for names in started] == [["3"], ["3", "6"]]


def test_a_second_training_in_a_workdir_is_refused(finished, copied):
    half_saved = copied / "checkpoints" / "9.orbax-checkpoint-tmp"
    half_saved.mkdir()
    with only_trainer(copied):
        with pytest.raises(ValueError, match=f"another process trains in .*pid {os.getpid()} "):
            train(tiny("light", **LONGER), copied)
        with open_store(copied) as store:
            assert store.latest_step == 6
    assert half_saved.exists()  # the other one may be writing it


def test_an_unknown_best_figure_is_named(tmp_path):
    overrides = SHORTER | dict(training__evaluate_every=2, evaluation__best="vqa_acuracy")
    message = 'best = "vqa_acuracy": .* Did you mean "vqa_accuracy".* Known: vqa_accuracy, '
    with pytest.raises(ValueError, match=message):
        train(tiny("light", **overrides), tmp_path, Figures(0.3))


def test_best_without_evaluation_is_refused():
    with pytest.raises(ValueError, match="config.evaluation.best = 'r1' .*evaluate_every"):
        tiny("light", evaluation__best="r1")


@pytest.mark.slow
def test_unusable_records_are_replaced_and_counted(tmp_path):
    """An empty caption, a missing picture and a corrupt one, of twenty-four."""
    broken = dict(_3={"caption": " "}, _5={"image": "gone.png"}, _7={"image": "bad.png"})
    path = write_pairs(tmp_path, **broken)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    overrides = dict(data__source="json", data__path=str(path), training__momentum=None)
    config = tiny("pairs", **overrides, tasks__itc__queue_size=0)
    result = train(config, tmp_path / "run")
    skipped = result.experiment.mixture.skipped
    assert sorted(reason.split()[-1] for reason in skipped.values()) == ["exist", "picture"]
    assert result.timing()["skipped_training_records"] == 3


def test_data_without_one_usable_picture_end_the_run(tmp_path):
    path = write_pairs(tmp_path)
    for picture in tmp_path.glob("*.png"):
        picture.write_bytes(b"no picture")
    overrides = dict(data__source="json", data__path=str(path))
    with pytest.raises(ValueError, match=r"\d+ of \d+ records were tried .* none could be used"):
        train(tiny("pairs", **overrides), tmp_path / "run")


def test_a_batch_that_the_devices_cannot_share(tmp_path, devices8):
    with pytest.raises(
        ValueError, match="data.batch_size = 6 cannot be divided over data × fsdp = 8"
    ):
        train(tiny("light", data__batch_size=6), tmp_path)
