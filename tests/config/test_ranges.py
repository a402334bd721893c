"""Tests of ranges: what lies within, what the error says, and the ranges of every setting."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Annotated, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.config import (
    DataConfig,
    ExperimentConfig,
    TrainingConfig,
    build,
    field_types,
    replace,
    to_plain,
)
from vlp_jax.config.ranges import (
    Count,
    Finite,
    Fraction,
    Natural,
    NonNegative,
    OutOfRange,
    Positive,
    Range,
    Share,
)
from vlp_jax.encoders import TEXT_ENCODERS, VISION_ENCODERS
from vlp_jax.fusion import FUSIONS
from vlp_jax.heads import HEADS, POOLERS
from vlp_jax.tasks import TASKS, build_tasks
from vlp_jax.training.optimizer import ParameterGroup

NAN, INF = float("nan"), math.inf


@dataclass(frozen=True)
class Ranged:
    """A group with one field of every range."""

    count: Count = 1
    natural: Natural = 0
    positive: Positive = 1.0
    not_negative: NonNegative = 0.0
    share: Share = 0.0
    fraction: Fraction = 0.0
    finite: Finite = 0.0
    maybe: Positive | None = None
    either: Annotated[int, Range(2)] | str = "all"
    axis: Annotated[int, Range(-1)] = -1
    each: dict[str, Positive] = field(default_factory=dict)
    shares: tuple[Share, Share] = (0.0, 0.0)
    open: Annotated[float, Range(0, 1, low_open=True, high_open=True)] = 0.5


WITHIN = [
    ("count", 1), ("natural", 0), ("positive", 1e-30), ("not_negative", 0.0), ("share", 0.0),
    ("share", 1.0), ("fraction", 0.0), ("fraction", 0.999), ("finite", -1e30), ("maybe", None),
    ("maybe", 0.1), ("either", 2), ("either", "some"), ("axis", -1), ("each", {"a": 0.1}),
    ("shares", (0.0, 1.0)), ("open", 0.5),
]  # fmt: skip

OUTSIDE = [
    ("count", 0, "at least 1"),
    ("count", -1, "at least 1"),
    ("natural", -1, "at least 0"),
    ("positive", 0.0, "above 0"),
    ("positive", -0.0, "above 0"),
    ("positive", NAN, "above 0"),
    ("positive", INF, "above 0"),
    ("not_negative", -1e-9, "at least 0"),
    ("not_negative", NAN, "at least 0"),
    ("not_negative", INF, "at least 0"),
    ("share", -0.1, "in [0, 1]"),
    ("share", 1.1, "in [0, 1]"),
    ("share", NAN, "in [0, 1]"),
    ("fraction", 1.0, "in [0, 1)"),
    ("fraction", -INF, "in [0, 1)"),
    ("finite", NAN, "finite"),
    ("finite", INF, "finite"),
    ("finite", -INF, "finite"),
    ("maybe", 0.0, "above 0"),
    ("axis", -2, "at least -1"),
    ("open", 0.0, "in (0, 1)"),
    ("open", 1.0, "in (0, 1)"),
]


@pytest.mark.parametrize(("name", "value"), WITHIN)
def test_what_lies_within_is_taken(name, value):
    assert getattr(build(Ranged, {name: value}, "config"), name) == value


@pytest.mark.parametrize(("name", "value", "allowed"), OUTSIDE)
def test_what_lies_outside_is_told_with_its_path(name, value, allowed):
    with pytest.raises(OutOfRange) as error:
        build(Ranged, {name: value}, "config.group")
    assert str(error.value) == f"config.group.{name} = {value!r}: must be {allowed}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"each": {"a": 1.0, "b": 0.0}}, "config.each.b = 0.0: must be above 0"),
        ({"shares": (0.5, 2.0)}, "config.shares[1] = 2.0: must be in [0, 1]"),
        ({"either": 1}, "config.either = 1: must be at least 2"),
        ({"positive": -1}, "config.positive = -1.0: must be above 0"),
        ({"count": 1.5}, "config.count = 1.5 (float): expected int"),
        ({"count": True}, "config.count = True (bool): expected int"),
        ({"maybe": "x"}, "config.maybe = 'x' (str): expected float | None"),
    ],
)
def test_the_path_leads_into_groups_and_types_come_first(values, message):
    with pytest.raises(ValueError) as error:
        build(Ranged, values, "config")
    assert str(error.value) == message


@given(st.floats(width=32, allow_subnormal=False), *[st.floats()] * 2, *[st.booleans()] * 2)
def test_a_range_holds_what_its_bounds_say(value, low, high, low_open, high_open):
    limits = Range(low, high, low_open, high_open)
    above = value > low or (value == low and not low_open)
    below = value < high or (value == high and not high_open)
    if math.isfinite(value) and above and below:
        limits.check(value, "config.x")
    else:
        with pytest.raises(OutOfRange, match="config.x"):
            limits.check(value, "config.x")


@pytest.mark.parametrize("value", [1e300, 1e-300, -1e39, 10**400, 2**31, -(2**31)])
def test_numbers_that_32_bits_do_not_hold(value):
    name = "axis" if value in (2**31, -(2**31)) else "finite"
    with pytest.raises(OutOfRange, match=rf"config\.{name} = "):
        build(Ranged, {name: value}, "config")


def test_every_number_of_a_part_a_task_and_the_schema_has_a_range():
    registries = (VISION_ENCODERS, TEXT_ENCODERS, FUSIONS, POOLERS, HEADS, TASKS)
    classes = [cls for registry in registries for cls in registry.values()]
    classes = [cls for cls in classes if cls.__module__.startswith("vlp_jax.")]  # not of tests
    assert [
        bare for cls in (*classes, ExperimentConfig, ParameterGroup) for bare in bares(cls)
    ] == []


def bares(hint, path=""):
    """Yields where a type has a number without a range."""
    if dataclasses.is_dataclass(hint):
        for name, inner in field_types(hint).items():
            yield from bares(inner, f"{path or hint.__name__}.{name}")
    elif hint in (int, float):
        yield path
    elif get_origin(hint) is not Annotated:
        for inner in get_args(hint):
            yield from bares(inner, path)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainingConfig(steps=0),
        lambda: replace(ExperimentConfig(), "training.steps", 0),
        lambda: dataclasses.replace(ExperimentConfig().training, steps=0),
    ],
)
def test_a_group_is_checked_however_it_was_made(make):
    with pytest.raises(OutOfRange, match=r"^config\.training\.steps = 0: must be at least 1$"):
        make()


def set_to(path, value):
    values = to_plain(ExperimentConfig())
    *groups, last = path.split(".")
    inner = values
    for group in groups:
        inner = inner[group]
    inner[last] = value
    return build(ExperimentConfig, values, "config")


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("seed", -1, "in [0, 4294967295]"),
        ("seed", 2**32, "in [0, 4294967295]"),
        ("training.steps", 0, "at least 1"),
        ("training.accumulate", 0, "at least 1"),
        ("training.log_every", 0, "at least 1"),
        ("training.checkpoint_every", 0, "at least 1"),
        ("training.keep_checkpoints", 0, "at least 1"),
        ("training.evaluate_every", -1, "at least 0"),
        ("training.distillation_warmup", -1, "at least 0"),
        ("training.nan_patience", 0, "at least 1"),
        ("training.momentum", 1.5, "in [0, 1]"),
        ("training.momentum", -0.1, "in [0, 1]"),
        ("training.mix", {"itc": 0.0}, "above 0"),
        ("data.batch_size", 0, "at least 1"),
        ("data.image_size", 0, "at least 1"),
        ("data.text_length", 1, "at least 2"),
        ("data.regions", 0, "at least 1"),
        ("data.region_pixels", -1, "at least 0"),
        ("data.max_words", 0, "at least 1"),
        ("data.threads", 0, "at least 1"),
        ("data.prefetch", 0, "at least 1"),
        ("data.weights", {"coco": -1.0}, "above 0"),
        ("optimizer.learning_rate", -1e-3, "at least 0"),
        ("optimizer.learning_rate", NAN, "at least 0"),
        ("optimizer.learning_rate", INF, "at least 0"),
        ("optimizer.weight_decay", -1.0, "at least 0"),
        ("optimizer.warmup_steps", -1, "at least 0"),
        ("optimizer.beta1", 1.0, "in [0, 1)"),
        ("optimizer.beta2", -0.1, "in [0, 1)"),
        ("optimizer.clip_norm", 0.0, "above 0"),
        ("mesh.data", -2, "at least -1"),
        ("evaluation.batch_size", 0, "at least 1"),
        ("model.init_std", -0.1, "at least 0"),
    ],
)
def test_a_setting_out_of_range(path, value, allowed):
    with pytest.raises(ValueError) as error:
        set_to(path, value)
    if isinstance(value, dict):
        ((name, value),) = value.items()
        path = f"{path}.{name}"
    assert str(error.value) == f"config.{path} = {value!r}: must be {allowed}"


@pytest.mark.parametrize(
    ("task", "name", "value", "allowed"),
    [
        ("itc", "weight", -1.0, "at least 0"),
        ("itc", "weight", NAN, "at least 0"),
        ("itc", "alpha", 1.5, "in [0, 1]"),
        ("itc", "smoothing", 1.0, "in [0, 1)"),
        ("itc", "queue_size", -1, "at least 0"),
        ("itc", "local_batch", 1, "at least 2"),
        ("itm", "foils", 1.1, "in [0, 1]"),
        ("itm", "hardness", -0.1, "at least 0"),
        ("mlm", "probability", 1.0, "in [0, 1)"),
        ("mlm", "probability", -0.1, "in [0, 1)"),
        ("vqa", "questions", 0, "at least 1"),
        ("vqa", "question_length", 1, "at least 2"),
        ("vqa_generative", "answer_length", 2, "at least 3"),
        ("vqa_generative", "answers", 0, "at least 1"),
        ("region_feature", "probability", 1.0, "in [0, 1)"),
        ("region_labels", "scale", INF, "at least 0"),
        ("alignment", "beta", 0.0, "above 0"),
        ("alignment", "iterations", 0, "at least 1"),
    ],
)
def test_a_tasks_setting_out_of_range(task, name, value, allowed):
    config = replace(ExperimentConfig(), "tasks", {task: {name: value}})
    with pytest.raises(ValueError) as error:
        build_tasks(config)
    assert str(error.value) == f"config.tasks.{task}.{name} = {value!r}: must be {allowed}"


def test_an_evaluations_setting_out_of_range():
    tasks = {"mlm": {"evaluate": {"words": {"limit": 0}}}}
    with pytest.raises(ValueError) as error:
        build_tasks(ExperimentConfig(tasks=tasks))
    assert str(error.value) == ("config.tasks.mlm.evaluate.words.limit = 0: must be at least 1")


def test_defaults_lie_within():
    for cls in (Ranged, DataConfig, ExperimentConfig):
        assert build(cls, to_plain(cls()), "config") == cls()
