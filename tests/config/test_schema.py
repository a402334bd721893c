"""Tests of the experiment's fields: typos and wrong types of every one, and combinations."""

import dataclasses
import json
from typing import Any

import pytest

from vlp_jax.config import DataConfig, ExperimentConfig, build, replace, to_plain

GROUPS = [
    f.name
    for f in dataclasses.fields(ExperimentConfig)
    if dataclasses.is_dataclass(getattr(ExperimentConfig(), f.name))
]
FIELDS = [
    (group, field.name)
    for group in GROUPS
    for field in dataclasses.fields(type(getattr(ExperimentConfig(), group)))
]


def experiment(**groups: Any) -> ExperimentConfig:
    return build(ExperimentConfig, groups, "config")


def message(**groups: Any) -> str:
    with pytest.raises(ValueError) as error:
        experiment(**groups)
    return str(error.value)


def test_the_defaults_are_a_valid_experiment():
    assert experiment() == ExperimentConfig()


@pytest.mark.parametrize(("group", "name"), FIELDS)
def test_every_field_refuses_a_foreign_object(group, name):
    assert message(**{group: {name: {1, 2}}}).startswith(f"config.{group}.{name} = {{1, 2}}")


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, n in FIELDS if len(n) > 3])
def test_every_misspelt_field_is_recognised(group, name):
    typo = name[0] + name[2] + name[1] + name[3:] + "x"
    text = message(**{group: {typo: 1}})
    assert text.startswith(
        f'config.{group}.{typo}: no such field. Did you mean "{name}"? Allowed: '
    )
    assert f" {name}" in text.partition("Allowed:")[2]


@pytest.mark.parametrize("group", [*GROUPS, "tasks"])
def test_every_group_refuses_a_value(group):
    assert message(**{group: 3}).startswith(f"config.{group} = 3: expected a group of fields")


def test_a_mean_of_nothing():
    text = message(evaluation={"means": {"all": []}})
    assert text == "config.evaluation.means.all is empty: name figures to average"
    assert experiment(evaluation={"means": {"all": ["a"]}}).evaluation.means == {"all": ("a",)}


def test_a_batch_that_does_not_divide():
    text = message(data={"batch_size": 10}, training={"accumulate": 4})
    assert text == "config.data.batch_size = 10 is not divisible by config.training.accumulate = 4"
    assert experiment(data={"batch_size": 12}, training={"accumulate": 4})


def test_shares_of_sources_that_join_later():
    own = {"b": {"first_step": 30, "batch_size": 16}, "c": {"first_step": 10}}
    given = {"source": "a::b::c", "per_source": own, "weights": {"b": 2.0}, "batch_size": 4}
    data = experiment(data=given).data
    assert data.first_steps == {"a": 0, "b": 30, "c": 10}
    # 10 steps of a, 20 of a and c by halves, 10 of a, b and c by 1 : 2 : 1.
    assert data.shares(40) == pytest.approx({"a": 22.5 / 40, "b": 5 / 40, "c": 12.5 / 40})
    assert data.shares(20) == pytest.approx({"a": 0.75, "b": 0.0, "c": 0.25})
    assert data.mean_batch_size(40) == pytest.approx((22.5 * 4 + 5 * 16 + 12.5 * 4) / 40)
    assert data.mean_batch_size(10) == 4


def test_steps_count_from_the_earliest_source():
    own = {"b": {"first_step": 30}, "c": {"first_step": 10}}
    assert experiment(data={"source": "b::c", "per_source": own}).data.first_steps == {
        "b": 20,
        "c": 0,
    }
    alone = experiment(data={"source": "b", "per_source": own}).data
    assert alone.first_steps == {"b": 0} and alone.shares(7) == {"b": 1.0}


def test_a_type_for_a_teacher_that_is_not_there():
    text = message(training={"teacher_dtype": "bfloat16"})
    assert text.startswith("config.training.teacher_dtype = 'bfloat16', but there is no teacher")
    assert experiment(training={"teacher_dtype": "bfloat16", "momentum": 0.9})


def test_the_best_figure_of_evaluations_that_never_happen():
    text = message(evaluation={"best": "i2t_r1"})
    assert text.startswith("config.evaluation.best = 'i2t_r1'")
    assert "config.training.evaluate_every" in text
    assert experiment(evaluation={"best": "i2t_r1"}, training={"evaluate_every": 5})


def test_a_warmup_longer_than_the_run():
    text = message(training={"steps": 10}, optimizer={"warmup_steps": 11})
    assert text == "config.optimizer.warmup_steps = 11 is longer than config.training.steps = 10"
    assert experiment(training={"steps": 10}, optimizer={"warmup_steps": 10})


def test_one_path_for_two_sources():
    text = message(data={"source": "json::emoji", "path": "x.json"})
    assert text.startswith(
        "config.data.path = 'x.json' is for one source, config.data.source names 2"
    )
    assert "config.data.source_args.<source>.path" in text


def test_sources_splits_the_name():
    assert DataConfig(source="a").sources == ("a",)
    assert DataConfig(source="a::b::c").sources == ("a", "b", "c")


def test_replace_copies_along_the_path():
    old = ExperimentConfig()
    new = replace(old, "training.steps", 7)
    assert new.training.steps == 7 and old.training.steps == 1000
    assert dataclasses.replace(new, training=old.training) == old
    assert replace(old, "seed", 3).seed == 3


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ExperimentConfig().training.steps = 3


def test_a_task_may_be_off():
    assert experiment(tasks={"itc": {"alpha": 0.1}, "itm": None}).tasks["itm"] is None
    assert message(tasks={"itm": 3}).startswith("config.tasks.itm = 3 (int): expected")


def test_no_default_is_shared():
    ExperimentConfig().model.vision_args["x"] = 1
    assert ExperimentConfig().model.vision_args == {}


def test_defaults_survive_json():
    plain = json.loads(json.dumps(to_plain(ExperimentConfig())))
    assert build(ExperimentConfig, plain, "config") == ExperimentConfig()
