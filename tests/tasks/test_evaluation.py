"""Tests of running all evaluations: which can run on which source, and what is left out."""

import dataclasses
import logging
from types import SimpleNamespace

import numpy as np
import pytest

from tests.data.sources.tars import write_shards
from tests.tasks.all_knowing import AllKnowing, numbers, square_heat
from tests.training.tiny import tiny, write_pairs
from vlp_jax.config import DataConfig, ExperimentConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.tasks import Evaluation, Run, Task, evaluate, word_maps
from vlp_jax.tasks.answers import AnswerEvaluation, AnswerTask
from vlp_jax.tasks.evaluation import _cannot_run, check_evaluations
from vlp_jax.tasks.masked_text import MaskedTextEvaluation, MaskedTextTask
from vlp_jax.tasks.near_miss import NearMissEvaluation, NearMissTask
from vlp_jax.tasks.retrieval import RetrievalEvaluation, RetrievalTask
from vlp_jax.training.experiment import assemble


@pytest.fixture(autouse=True)
def heat(monkeypatch):
    monkeypatch.setattr(word_maps, "gradcam", square_heat)


def test_all_tasks_of_the_experiment(right):
    config, vocabulary = right.experiment.config, right.experiment.vocabulary
    outcome = evaluate(config, vocabulary, right.forward)
    names = {"i2t_r1", "t2i_r10_itm", "near_miss_accuracy", "vqa_accuracy", "mlm_accuracy"}
    assert {name for name in names if outcome.figures[name] == 1.0} == names
    assert outcome.figures["skipped_records"] == 0
    groups = [row.group for row in outcome.rows]
    assert sorted(groups) == ["Composition", "Language", "Question answering", *["Retrieval"] * 12]
    assert len(dict.fromkeys(groups)) == 1 + sum(a != b for a, b in zip(groups, groups[1:]))
    only = dataclasses.replace(config, tasks={"mlm": config.tasks["mlm"], "vqa": None})
    assert set(evaluate(only, vocabulary, right.forward).figures) == {
        "mlm_accuracy", "mlm_chance", "mlm_blind", "mlm_blind_name", "skipped_records",
    }  # fmt: skip


def test_one_task_may_be_measured_several_times(right):
    both = {"mlm": {"limit": 8}, "words": {"limit": 16, "baseline_records": 32}}
    config = dataclasses.replace(right.experiment.config, tasks={"mlm": {"evaluate": both}})
    found = evaluate(config, right.experiment.vocabulary, right.forward).figures
    assert found["mlm_accuracy"] == found["words_accuracy"] == 1.0


@pytest.mark.parametrize("name", ["needs", "heads"])
def test_a_name_that_stands_alone_is_refused(name):
    with pytest.raises(ValueError, match=f"Mine.{name} is 'image', expected a tuple of names"):
        type("Mine", (Evaluation,), {name: "image"})


def test_what_cannot_run_is_left_out_with_the_reason(right, caplog):
    del right.forward.model.heads["vqa"], right.forward.model.heads["itc"]
    tasks = {
        "mlm": {"evaluate": {"mlm": {"limit": 16, "baseline_records": 16}}},
        "vqa": {"evaluate": {"vqa": {"limit": 16}, "easy": {"source": "easy_vqa"}}},
        "retrieval": {"evaluate": {"retrieval": {}}},
    }
    config = dataclasses.replace(right.experiment.config, tasks=tasks)
    with caplog.at_level(logging.WARNING):
        outcome = evaluate(config, right.experiment.vocabulary, right.forward)
    assert "mlm_accuracy" in outcome.figures and "vqa_accuracy" not in outcome.figures
    assert 'evaluation easy is left out: its source "easy_vqa" is not in config' in caplog.text
    assert "evaluation vqa is left out: the model has no head vqa" in caplog.text
    assert "evaluation retrieval is left out: the model has no head itc" in caplog.text


@pytest.fixture
def args(tmp_path):
    shards = {"kind": "webdataset", "path": str(write_shards(tmp_path / "web", 2, 10))}
    return {"web": shards, "coco": {**shards, "holdout": 0.3}, "easy_vqa": {}}


def reason(args, source, heads=("itc",), needs=("image", "caption")):
    """Returns why an evaluation on `source` would be left out of an experiment on "web"."""

    class Mine(Evaluation):
        pass

    Mine.heads, Mine.needs = heads, needs
    config = ExperimentConfig(data=DataConfig(source="web", source_args=args))
    forward = SimpleNamespace(model=SimpleNamespace(heads={"itc": {}}))
    vocabulary = Vocabulary(Tokenizer.fit(["a dog"]))
    return _cannot_run(Run(config, vocabulary, forward, Task()), Mine(source=source))


def test_a_named_source_may_be_evaluated_without_being_trained_on(args):
    assert reason(args, "") is None
    assert reason(args, "web") is None
    assert reason(args, "coco") is None


def test_others_are_left_out_with_their_reason(args):
    assert "nor a name of config.data.source_args that gives a kind" in reason(args, "easy_vqa")
    assert reason(args, "coco", heads=("itc", "itm")) == "the model has no head itm"
    assert reason(args, "coco", needs=("question",)) == "its source gives no question"


@pytest.mark.parametrize(
    ("task", "evaluation"),
    [
        (RetrievalTask(), RetrievalEvaluation()),
        (AnswerTask(), AnswerEvaluation()),
        (MaskedTextTask(), MaskedTextEvaluation()),
        (NearMissTask(), NearMissEvaluation()),
    ],
    ids=lambda x: type(x).__name__,
)
def test_images_or_regions_are_needed(right, task, evaluation):
    lacking = SimpleNamespace(provides=frozenset({"caption", "question"}))
    run = dataclasses.replace(right.run("mlm", lacking), task=task)
    either = "image" if isinstance(task, NearMissTask) else "image or region_features"
    assert _cannot_run(run, evaluation) == f"its source gives no {either}"
    lacking.provides |= {"region_features"}
    assert (_cannot_run(run, evaluation) is None) == (either != "image")


@pytest.fixture
def broken_pairs(tmp_path):
    """An experiment on captioned pictures; one for training and three for testing can't be used."""
    for name, bad in (("train", ["3"]), ("test", ["3", "5"])):
        (tmp_path / name).mkdir()
        write_pairs(tmp_path / name, **({"_9": {"caption": " "}} if name == "test" else {}))
        for stem in bad:
            (tmp_path / name / f"{stem}.png").write_bytes(b"no picture")
    paths = {"validation_path": str(tmp_path / "test" / "pairs.json")}
    overrides = dict(data__source_args={"json": paths}, data__source="json")
    return assemble(tiny(data__path=str(tmp_path / "train" / "pairs.json"), **overrides))


def test_unusable_pictures_are_left_out_and_counted(broken_pairs, caplog):
    forward = AllKnowing(broken_pairs, count=3)
    heads = forward.model.heads
    heads["itc"].image = lambda images: np.eye(64)[numbers(images) % 64]
    heads["itc"].text = lambda texts: np.ones((len(texts.mask), 64)) / 8
    heads["itm"].of = lambda fused: np.zeros((len(fused.text.mask), 2))
    tasks = {"retrieval": broken_pairs.config.tasks["retrieval"], "vqa": {"evaluate": {"vqa": {}}}}
    config = dataclasses.replace(broken_pairs.config, tasks=tasks)
    with caplog.at_level(logging.WARNING):
        outcome = evaluate(config, broken_pairs.vocabulary, forward)
    assert outcome.figures["skipped_records"] == 3  # the source left one out
    assert "evaluation skipped 3 records that can't be used" in caplog.text
    # Of 16 pictures two are missing: 14 candidates.
    assert outcome.figures["i2t_r1_chance"] == pytest.approx(1 / 14)
    assert "evaluation vqa is left out: its source gives no question" in caplog.text


def test_records_of_two_splits_are_counted_apart(broken_pairs):
    """Number 3 is corrupt in both."""
    run = Run(broken_pairs.config, broken_pairs.vocabulary, None, RetrievalTask())
    evaluation = RetrievalEvaluation()
    for _ in range(2):
        for source in (run.training_source(evaluation), run.source(evaluation)):
            batches = list(run.batches(source, None))
    assert sorted(skipped.total for skipped in run._skipped.values()) == [1, 2]
    assert sum(batch["example_mask"].sum() for batch in batches) == 21


def test_a_split_is_opened_once(right):
    run = right.run("mlm")
    test = run.source(Evaluation())
    assert test is run.source(Evaluation(source="emoji_scenes"))
    assert run.training_source(Evaluation()) is not test


def test_a_task_that_measures_nothing_says_so():
    tasks = {"mine": Task(evaluate={"it": {"limit": 8}})}
    with pytest.raises(ValueError, match=r"^config\.tasks\.mine\.evaluate\.it: the task measures"):
        check_evaluations(ExperimentConfig(), tasks)
