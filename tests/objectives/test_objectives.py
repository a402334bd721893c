"""Tests of the settings of all objectives, and of every mistake in them."""

import dataclasses

import pytest

from vlp_jax.data.batch import FIELDS
from vlp_jax.heads import HEADS
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.training.experiment import build_objectives


def mistake(settings):
    with pytest.raises(ValueError) as error:
        build_objectives(settings)
    return str(error.value)


def test_objectives_are_built_by_name():
    built = build_objectives({"itc": {"weight": 2, "temperature_range": [0.1, 1]}, "itm": {}})
    assert list(built) == ["itc", "itm"]
    assert built["itc"] == OBJECTIVES["itc"](weight=2.0, temperature_range=(0.1, 1.0))


def test_two_objectives_of_one_kind():
    built = build_objectives({"vqa": {}, "soft": {"kind": "vqa", "form": "kl"}})
    assert built["soft"].form == "kl" and built["vqa"].form == "bce"


def test_no_objective():
    assert mistake({}) == f"config.objectives is empty. Known objectives: {', '.join(OBJECTIVES)}"


def test_an_unknown_objective():
    assert mistake({"itx": {}}).startswith(
        'config.objectives.itx: unknown objective "itx". Did you'
    )
    assert mistake({"mine": {"kind": "itx"}}).startswith(
        "config.objectives.mine: unknown objective"
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_mistakes_in_the_settings_of_each(name):
    path = f"config.objectives.{name}"
    assert mistake({name: {"wieght": 1}}).startswith(
        f'{path}.wieght: no such field. Did you mean "weight"? Allowed: weight'
    )
    for field in dataclasses.fields(OBJECTIVES[name]):
        assert mistake({name: {field.name: {1, 2}}}).startswith(f"{path}.{field.name} = {{1, 2}}")


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_each_says_it_reads_and_needs_exists(name):
    objective = OBJECTIVES[name]()
    assert objective.reads <= FIELDS.keys()
    assert set(objective.heads) <= HEADS.keys()
    assert objective.weight == 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.weight = 2.0
