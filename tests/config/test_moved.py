"""Tests of settings at old places: the error names the new one; old runs can still be read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vlp_jax
from tests.training.tiny import differing, save_untrained, tiny, without_checksums
from vlp_jax.cli.main import main
from vlp_jax.config import load_config, to_plain
from vlp_jax.config.moved import is_old, without_moved
from vlp_jax.training.checkpoint import open_store, read_run
from vlp_jax.training.loop import train

MOVED = {
    "objectives.itc.alpha": (0.1, "objectives", "tasks"),
    "objectives": ({"itc": {}}, "objectives", "tasks"),
    "evaluation.tasks.mlm.limit": (8, "evaluation.tasks", "tasks.<name>.evaluate"),
    "training.queue_size": (8, "training.queue_size", "tasks.itc.queue_size"),
    "data.question_length": (8, "data.question_length", "tasks.vqa.question_length"),
    "data.questions": (2, "data.questions", "tasks.vqa.questions"),
    "data.answer_length": (4, "data.answer_length", "tasks.vqa_generative.answer_length"),
    "data.answers_per_question": (
        2,
        "data.answers_per_question",
        "tasks.vqa_generative.answers",
    ),
    "data.foils": (True, "data.foils", "tasks.itm.foils"),
    "data.pairing": (
        "caption",
        "data.pairing",
        "tasks.pair.exchange (or contrastive_tags, sentence_image)",
    ),
    "data.predict_wrong_pairs": (
        False,
        "data.predict_wrong_pairs",
        "tasks.pair.predict_wrong_pairs",
    ),
    "data.mask_probability": (0.3, "data.mask_probability", "tasks.mlm.probability"),
    "data.mask_at_least_one": (True, "data.mask_at_least_one", "tasks.mlm.at_least_one"),
    "data.region_masking": (
        "uniter",
        "data.region_masking",
        "tasks.region_feature.masking (or region_class, region_labels)",
    ),
    "data.region_mask_probability": (
        0.3,
        "data.region_mask_probability",
        "tasks.region_feature.probability (or region_class, …)",
    ),
}
CASES = [(path, *given) for path, given in MOVED.items()]


def nested(path: str, value: Any) -> dict[str, Any]:
    for part in reversed(path.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize(("path", "value", "old", "new"), CASES)
def test_a_file_with_an_old_setting_names_the_new_place(tmp_path, path, value, old, new):
    file = tmp_path / "old.py"
    file.write_text(f"def get_config(): return {nested(path, value)!r}")
    with pytest.raises(ValueError) as error:
        load_config(str(file))
    assert str(error.value) == f"config.{old} has moved: set config.{new}"


@pytest.mark.parametrize(("path", "value", "old", "new"), CASES)
def test_an_override_of_an_old_setting_names_the_new_place(path, value, old, new):
    with pytest.raises(ValueError) as error:
        tiny("light", **{path.replace(".", "__"): value})
    assert str(error.value) == f"config.{old} has moved: set config.{new}"


@pytest.mark.parametrize(("path", "value", "old", "new"), CASES)
def test_old_settings_are_recognised_and_left_out(path, value, old, new):
    values = {"name": "run", "data": {"batch_size": 8}, "training": {}, "evaluation": {}}
    assert not is_old(values)
    group, _, rest = path.partition(".")
    given = values | {group: {**values.get(group, {}), **(nested(rest, value) if rest else value)}}
    assert is_old(given) and not is_old(without_moved(given))
    kept = without_moved(given)
    assert {name: kept[name] for name in values} == values


def old_layout(values: dict[str, Any]) -> dict[str, Any]:
    """Returns a resolved config as it was written before tasks stood in `config.tasks`."""
    values = json.loads(json.dumps(values))
    del values["tasks"], values["plugins"]
    values["objectives"] = {"vqa": {"form": "ce"}}
    values["data"] |= {
        "question_length": 8, "questions": 1, "answer_length": 0, "answers_per_question": 10,
        "foils": False, "pairing": "none", "predict_wrong_pairs": True, "region_masking": "none",
        "region_mask_probability": 0.15, "mask_probability": 0.15, "mask_at_least_one": False,
    }  # fmt: skip
    values["training"]["queue_size"] = 0
    values["evaluation"]["tasks"] = {"vqa": {"limit": 16}}
    return values


@pytest.fixture(scope="module")
def old_run(tmp_path_factory) -> tuple[Path, Any]:
    """A workdir whose config and checkpoint are of the old layout, and its experiment."""
    workdir = tmp_path_factory.mktemp("moved") / "run"
    experiment = save_untrained(workdir, tiny("light"))
    values = old_layout(to_plain(experiment.config))
    (workdir / "config.json").write_text(json.dumps(values))
    about = workdir / "checkpoints" / "0" / "about" / "metadata"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"config": values}))
    without_checksums(workdir / "checkpoints" / "0")  # which came later than tasks did
    return workdir, experiment


@pytest.mark.slow
def test_the_model_of_an_old_run_can_be_read(old_run):
    workdir, experiment = old_run
    config, vocabulary, params = read_run(workdir)
    assert config.model == experiment.config.model and config.tasks == {
        "vqa": {"question_length": 8}
    }
    assert config.data == experiment.config.data
    assert vocabulary.answers == experiment.vocabulary.answers
    with open_store(workdir) as store:
        assert differing(params, store.restore_params()) == []


@pytest.mark.slow
def test_an_old_run_still_answers(old_run):
    """Its questions had a length that the defaults exceed."""
    workdir, experiment = old_run
    model = vlp_jax.load(workdir)
    assert model.rules.texts["answer"].length == 8
    (found,) = model.answer(np.zeros((32, 32, 3), np.uint8), "is there a dog?")
    assert found.text in experiment.vocabulary.answers


def test_the_evaluation_of_an_old_run_says_what_to_give(old_run, capsys):
    assert main(["evaluate", "--workdir", str(old_run[0])]) == 1
    assert (
        "measures nothing: give what to measure, such as --config.tasks." in capsys.readouterr().err
    )


def test_an_old_run_cannot_go_on_and_says_what_can_be_done(old_run):
    workdir, _ = old_run
    with pytest.raises(ValueError, match="is of an earlier layout, in which tasks were not yet"):
        train(tiny("light"), workdir)


def test_an_old_runs_config_names_the_new_places(old_run):
    with pytest.raises(ValueError, match="config.objectives has moved: set config.tasks"):
        load_config(str(old_run[0] / "config.json"))


@pytest.mark.slow
def test_a_new_run_starts_with_the_weights_of_an_old_one(old_run, tmp_path):
    workdir, experiment = old_run
    given = ({"path": str(workdir), "kind": "run"},)
    settings = dict(training__steps=1, optimizer__learning_rate=0.0, optimizer__weight_decay=0.0)
    config = tiny("light", init_from=given, optimizer__warmup_steps=0, **settings)
    result = train(config, tmp_path / "new")
    with open_store(workdir) as store:
        assert differing(result.state.params, store.restore_params()) == []
