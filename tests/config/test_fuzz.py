"""Wrong values for every setting there is: one sentence that names it, before data are read."""

import copy
import dataclasses
import math
import random
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest

from tests.configs.test_goldens import SHIPPED
from tests.conftest import SEED
from tests.model.tiny import TEXT, VISION, fusion_args
from tests.training.tiny import tiny
from vlp_jax.config import ExperimentConfig, Registry, build, field_types, load_config, to_plain
from vlp_jax.encoders import TEXT_ENCODERS, VISION_ENCODERS
from vlp_jax.fusion import FUSIONS
from vlp_jax.heads import HEADS, POOLERS
from vlp_jax.model import build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.tasks import TASKS
from vlp_jax.training.experiment import check_settings
from vlp_jax.training.optimizer import ParameterGroup
from vlp_jax.weights.initial import InitialWeights

NAN, HUGE = math.nan, 1e300
SHARED = {"dtype", "remat", "scan_layers"}  # of all parts; they are set elsewhere
SIGNED = {"bias", "pixel_mean"}
NAMES = {"vision", "text", "fusion", "pooler", "source", "augment", "text_style"}

# What no setting of a kind may be, and what some may; a sign is wrong but for `SIGNED`.
NUMBERS = ["many", {"a": 1}, [1, 2], True, NAN, math.inf, -math.inf, HUGE, 10**400]
NEVER = {
    int: [*NUMBERS, 1.5, 10**12],
    float: NUMBERS,
    bool: ["maybe", 3, {"a": 1}, [True], NAN],
    str: [5, NAN, True, {"a": 1}, ["a", 1]],
    "name": ["no such name", 5, NAN, {"a": 1}, [1]],
    tuple: [5, {"a": 1}, [{"a": NAN}, object()], NAN],
    dict: [5, NAN, [1], True],
}
PERHAPS = {int: [0, 1, -1, 3, None, 2**20], float: [0, 1, None, 1e-12, 3.0], tuple: [[], [0]]}

Case = tuple[dict[str, Any], str, Any, bool]


def kind_of(hint: Any, name: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        named = any(isinstance(extra, Registry) for extra in args[1:])
        return "name" if named else kind_of(args[0], name)
    if origin in (typing.Union, types.UnionType):
        return kind_of(args[0], name)
    if origin is Literal:
        return "name"
    if dataclasses.is_dataclass(hint):
        return dict
    return "name" if hint is str and name in NAMES else origin or hint


def cases_of(cls: type, base: dict[str, Any], path: str) -> Iterator[Case]:
    """Yields values of a whole experiment with one field of `cls`, which is at `path`, wrong."""
    for name, hint in field_types(cls).items():
        if name in SHARED and cls not in (ExperimentConfig,) and "_args" in path + "_args":
            continue
        kind = kind_of(hint, name)
        signs = [-7] if kind in (int, float) and name not in SIGNED else []
        for value in (*NEVER.get(kind, ()), *signs):
            yield base, f"{path}.{name}", value, True
        for value in PERHAPS.get(kind, ()):
            yield base, f"{path}.{name}", value, False
    yield base, f"{path}.no_such_field", 1, True


def changed(values: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(values)
    *groups, last = path.split(".")[1:]
    inner = values
    for group in groups:
        inner = inner[int(group)] if isinstance(inner, list) else inner.setdefault(group, {})
    inner[last] = value
    return values


def small(**model: Any) -> dict[str, Any]:
    """An experiment of one narrow layer a part."""
    values = to_plain(tiny("light"))
    text = dict(text_args=TEXT["bert"], vision="vit", vision_args=VISION["vit"])
    fusion = dict(fusion="cross_attention", fusion_args=fusion_args("cross_attention"))
    values["model"] = text | fusion | dict(heads={}) | model
    return values


def own(registry: Registry) -> Iterator[tuple[str, type]]:
    """Yields the package's own entries, not those of other tests."""
    return ((n, c) for n, c in registry.items() if c.__module__.startswith("vlp_jax."))


def part_cases() -> Iterator[Case]:
    for name, cls in own(VISION_ENCODERS):
        base = small(vision=name, vision_args=VISION[name])
        yield from cases_of(cls, base, "config.model.vision_args")
    for name, cls in own(TEXT_ENCODERS):
        yield from cases_of(cls, small(text=name), "config.model.text_args")
    for name, cls in own(FUSIONS):
        base = small(fusion=name, fusion_args=fusion_args(name))
        yield from cases_of(cls, base, "config.model.fusion_args")
    for name, cls in own(POOLERS):
        yield from cases_of(cls, small(pooler=name, pooler_args={}), "config.model.pooler_args")
    for name, cls in own(HEADS):
        yield from cases_of(cls, small(heads={name: {}}), f"config.model.heads.{name}")


def task_cases() -> Iterator[Case]:
    for name, cls in own(TASKS):
        base = small() | {"tasks": {name: {}}}
        path = f"config.tasks.{name}"
        yield from cases_of(cls, base, path)
        (_, evaluation) = typing.get_args(field_types(cls)["evaluate"])
        if dataclasses.is_dataclass(evaluation):
            yield from cases_of(evaluation, base, f"{path}.evaluate.mine")


def list_cases() -> Iterator[Case]:
    base = small() | {"init_from": [{"path": "a.pth"}]}
    yield from cases_of(InitialWeights, base, "config.init_from.0")
    base = small()
    base["optimizer"]["groups"] = [{"pattern": "."}]
    yield from cases_of(ParameterGroup, base, "config.optimizer.groups.0")


def shipped_cases() -> Iterator[Case]:
    for spec in SHIPPED.values():
        base = to_plain(load_config(spec))
        yield from cases_of(ExperimentConfig, base, "config")
        for group, hint in field_types(ExperimentConfig).items():
            if dataclasses.is_dataclass(hint):
                yield from cases_of(hint, base, f"config.{group}")


def outcome(case: Case, trace: bool) -> str:
    """Returns what is wrong with how a case ends, or nothing."""
    values, path, value, never = case
    try:
        config = build(ExperimentConfig, changed(values, path, value), "config")
        check_settings(config)
        if trace and not never:
            abstract_params(build_model(config.model))
    except (ValueError, FileNotFoundError) as error:
        return "" if "\n" not in str(error).strip() and str(error) else f"no sentence: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return "taken" if never else ""


def failures(cases: list[Case], traced: int = 0) -> list[str]:
    found = ((case, outcome(case, i < traced)) for i, case in enumerate(cases))
    return [f"{case[1]} = {case[2]!r}: {wrong}" for case, wrong in found if wrong]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "most", "traced"),
    [(part_cases, 700, 60), (task_cases, 400, 0), (list_cases, 400, 0), (shipped_cases, 700, 0)],
)
def test_no_wrong_value_is_taken_and_none_ends_in_a_traceback(make, most, traced):
    cases = list(make())
    random.Random(SEED).shuffle(cases)
    assert failures(cases[:most], traced) == []
