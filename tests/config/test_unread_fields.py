"""Finds configuration that nothing reads: a field that changes nothing is a defect."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import flax.linen as nn
import pytest

import vlp_jax
from vlp_jax.config import ExperimentConfig
from vlp_jax.parallel import make_mesh
from vlp_jax.tasks import TASKS, Evaluation, Task
from vlp_jax.training.optimizer import ParameterGroup

PACKAGE = Path(vlp_jax.__file__).parent
ROOMS = ("layers", "encoders", "fusion", "heads", "model")

# Fields that others read from outside of the class, by the name of what they read it from.
READ_FROM_OUTSIDE = {
    ("MatchingHead", "match_index"): "head",
    ("Task", "weight"): "tasks",
    ("Task", "evaluate"): "task",
    ("Evaluation", "limit"): "evaluation",
    ("Evaluation", "source"): "evaluation",
    ("Evaluation", "split"): "evaluation",
}


def reads(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yields (receiver, attribute) of each attribute read: ("data", "path") of x.data.path."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield receiver(node.value), node.attr


def receiver(node: ast.AST) -> str:
    """Returns the last name in an expression such as a.b, a.b(...) or a.b["c"]."""
    while isinstance(node, (ast.Call, ast.Subscript)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, "attr", getattr(node, "id", ""))


@cache
def package_reads(without: str = "") -> frozenset[tuple[str, str]]:
    files = [p for p in PACKAGE.rglob("*.py") if p.relative_to(PACKAGE).as_posix() != without]
    return frozenset(pair for p in files for pair in reads(ast.parse(p.read_text())))


@cache
def own_reads(cls: type) -> frozenset[str]:
    """Returns the attributes that a class reads from itself, in its own body."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    return frozenset(name for owner, name in reads(tree) if owner == "self")


def is_read(cls: type, name: str, relatives: list[type]) -> bool:
    if any(name in own_reads(relative) for relative in relatives):
        return True
    for base in cls.__mro__:
        outside = READ_FROM_OUTSIDE.get((base.__name__, name))
        if outside and (outside, name) in package_reads():
            return True
    return False


def own_classes(base: type) -> list[type]:
    """Returns the subclasses of `base` that the package defines, at any depth."""
    found = [c for direct in base.__subclasses__() for c in [direct, *own_classes(direct)]]
    return [c for c in found if c.__module__.startswith("vlp_jax.")]


def import_rooms() -> None:
    for room in ROOMS:
        package = importlib.import_module(f"vlp_jax.{room}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"vlp_jax.{room}.{module.name}")


def linen_fields() -> list[tuple[type, str]]:
    import_rooms()
    return [
        (cls, field.name)
        for cls in sorted(set(own_classes(nn.Module)), key=lambda c: c.__qualname__)
        for field in dataclasses.fields(cls)
        if field.name not in ("parent", "name") and is_own(cls, field.name)
    ]


def is_own(cls: type, name: str) -> bool:
    """Says whether a field is the package's, and not one of a class of Flax that it builds on."""
    owners = [base for base in cls.__mro__ if name in vars(base).get("__annotations__", {})]
    return all(base.__module__.startswith("vlp_jax.") for base in owners)


def settings_fields() -> list[tuple[type, str]]:
    classes = [Task, *TASKS.values(), Evaluation, *own_classes(Evaluation)]
    return [(cls, field.name) for cls in classes for field in dataclasses.fields(cls)]


def label(value: object) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize(("cls", "name"), [*linen_fields(), *settings_fields()], ids=label)
def test_every_argument_of_a_part_is_read(cls, name):
    family = [c for c in [*cls.__mro__, *cls.__subclasses__()] if dataclasses.is_dataclass(c)]
    own = [c for c in family if c.__module__.startswith("vlp_jax.")]
    assert is_read(cls, name, own), f"nothing reads {cls.__name__}.{name}"


def experiment_fields() -> list[tuple[str, str]]:
    """Returns (group, field); the group of the outermost fields is "config"."""
    config, pairs = ExperimentConfig(), []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            pairs += [(field.name, inner.name) for inner in dataclasses.fields(value)]
        else:
            pairs.append(("config", field.name))
    return [pair for pair in pairs if pair[0] != "mesh"]


@pytest.mark.parametrize(("group", "name"), experiment_fields())
def test_every_field_of_an_experiment_is_read(group, name):
    found = package_reads(without="config/schema.py")
    readers = {owner for owner, attribute in found if attribute == name}
    if name == "source" and group == "data":
        readers |= {"data"} & {owner for owner, a in found if a == "sources"}
    assert readers & {group, "config"}, f"nothing reads config.{group}.{name}"


def test_the_mesh_is_built_from_all_of_its_fields():
    fields = {f.name for f in dataclasses.fields(ExperimentConfig().mesh)}
    assert fields == inspect.signature(make_mesh).parameters.keys() - {"devices"}
    assembled = (PACKAGE / "training" / "experiment.py").read_text()
    assert re.search(
        r"make_mesh\(\*\*dataclasses\.asdict\(config\.mesh\), devices=devices\)", assembled
    )


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(ParameterGroup)])
def test_every_field_of_a_parameter_group_is_read(name):
    tree = ast.parse((PACKAGE / "training" / "optimizer.py").read_text())
    assert {("group", name), ("g", name)} & set(reads(tree))


class Forgetful(nn.Module):
    """A module that ignores one of its fields."""

    used: int = 1
    unused: int = 2

    def __call__(self, x):
        self.sow("intermediates", "unused", x)
        return x * self.used


def test_the_finder_finds():
    assert is_read(Forgetful, "used", [Forgetful])
    assert not is_read(Forgetful, "unused", [Forgetful])
    tree = ast.parse("a.b['c'](1).d = e.f.g")
    assert set(reads(tree)) == {("a", "b"), ("f", "g"), ("e", "f")}
