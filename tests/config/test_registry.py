"""Tests of registries and of the nearest-name hint."""

import dataclasses

import pytest

from vlp_jax.config import Registry, nearest


@pytest.fixture
def fusions():
    registry = Registry("fusion")
    registry.register("cross_attention")(int)
    registry.register("co_attention")(str)
    return registry


def test_register_returns_its_target_and_files_it(fusions):
    @fusions.register("mine")
    class Mine:
        pass

    assert fusions["mine"] is Mine and fusions.get_known("mine") is Mine


def test_a_name_can_be_taken_once(fusions):
    with pytest.raises(ValueError, match='fusion "co_attention" is registered already, by .*str'):
        fusions.register("co_attention")(float)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest(fusions):
    with pytest.raises(ValueError) as error:
        fusions.get_known("cross_atention", "config.model.fusion")
    assert str(error.value) == (
        'config.model.fusion: unknown fusion "cross_atention". Did you mean "cross_attention"? '
        "Known: co_attention, cross_attention"
    )


def test_without_a_path_and_without_a_near_name(fusions):
    with pytest.raises(ValueError) as error:
        fusions.get_known("zzz")
    assert str(error.value) == 'unknown fusion "zzz". Known: co_attention, cross_attention'


@pytest.mark.parametrize("name", [{}, [], None, 3, ("co_attention",)])
def test_what_is_no_name_is_unknown(fusions, name):
    with pytest.raises(ValueError, match="unknown fusion"):
        fusions.get_known(name)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("lerning_rate", ' Did you mean "learning_rate"?'),
        ("learningrate", ' Did you mean "learning_rate"?'),
        (12, ' Did you mean "128"?'),
        ("xyz", ""),
        ("", ""),
    ],
)
def test_nearest(name, hint):
    assert nearest(name, ["learning_rate", "warmup_steps", 128]) == hint


@dataclasses.dataclass(frozen=True)
class Base:
    size: int = 3


class Plain(Base):
    width: int = 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (int, "task \"mine\" is <class 'int'>: expected a class that extends Base"),
        (Base(), r'task "mine" is Base\(size=3\): expected a class that extends Base'),
        (Plain, 'task "mine": Plain has settings and is no dataclass: write @dataclass, as Base'),
    ],
)
def test_what_is_not_of_the_kind_is_refused(given, message):
    tasks = Registry("task", Base)
    with pytest.raises(ValueError, match=message):
        tasks.register("mine")(given)
    assert not tasks
    assert tasks.register("mine")(Base) is Base


def test_very_long_names_are_not_compared():
    """It would take minutes."""
    assert nearest("x" * 60_000, ["x" * 60_001, "y"]) == ""
    assert nearest("captoin", ["c" * 60_000, "caption"]) == ' Did you mean "caption"?'
