"""Tests of typed config building: what is accepted, what it becomes, and what mistakes say."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.config import build, checked_fields, to_plain


@dataclass(frozen=True)
class Inner:
    """A group with one field of every kind."""

    size: int = 1
    rate: float = 0.5
    flag: bool = False
    label: str = "a"
    kind: Literal["red", "green", "none"] = "red"
    limit: int | None = None
    path: str | None = None
    pair: tuple[float, int] = (0.0, 0)
    many: tuple[int, ...] = ()
    args: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)
    groups: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Outer:
    """A group that holds another."""

    inner: Inner = field(default_factory=Inner)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)


def message(values: Any, cls: type = Outer) -> str:
    with pytest.raises(ValueError) as error:
        build(cls, values, "config")
    return str(error.value)


def inner_message(**values: Any) -> str:
    return message({"inner": values})


def test_nothing_given_gives_the_defaults():
    assert build(Outer, {}, "config") == Outer()
    assert build(Outer, {"inner": {}}, "config") == Outer()


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("size", 3, 3),
        ("rate", 2, 2.0),
        ("rate", 0.25, 0.25),
        ("flag", True, True),
        ("label", "none", "none"),
        ("kind", "none", "none"),
        ("limit", None, None),
        ("limit", "none", None),
        ("limit", 4, 4),
        ("path", None, None),
        ("path", "x", "x"),
        ("pair", [1, 2], (1.0, 2)),
        ("many", [1, 2, 3], (1, 2, 3)),
        ("many", (), ()),
        ("args", {"a": [1, {"b": [2]}]}, {"a": (1, {"b": (2,)})}),
        ("weights", {"a": 1}, {"a": 1.0}),
        ("groups", [{"pattern": "x"}], ({"pattern": "x"},)),
    ],
)
def test_a_value_becomes_its_type(name, given, expected):
    value = getattr(build(Outer, {"inner": {name: given}}, "config").inner, name)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("size", 1.5, "config.inner.size = 1.5 (float): expected int"),
        ("size", True, "config.inner.size = True (bool): expected int"),
        ("size", "3", "config.inner.size = '3' (str): expected int"),
        ("size", None, "config.inner.size = None (NoneType): expected int"),
        ("size", {"x": 1}, "config.inner.size = {'x': 1} (dict): expected int"),
        ("rate", True, "config.inner.rate = True (bool): expected float"),
        ("rate", "fast", "config.inner.rate = 'fast' (str): expected float"),
        ("flag", 1, "config.inner.flag = 1 (int): expected bool"),
        ("flag", "yes", "config.inner.flag = 'yes' (str): expected bool"),
        ("label", 7, "config.inner.label = 7 (int): expected str"),
        ("limit", "few", "config.inner.limit = 'few' (str): expected int | None"),
        ("path", 7, "config.inner.path = 7 (int): expected str | None"),
        ("pair", (1, 2, 3), "config.inner.pair = (1, 2, 3): expected 2 values, got 3"),
        ("pair", (1, "b"), "config.inner.pair[1] = 'b' (str): expected int"),
        ("pair", 4, "config.inner.pair = 4: expected a list of values, tuple[float, int]"),
        ("many", "123", "config.inner.many = '123': expected a list of values, tuple[int, ...]"),
        ("many", (1, 2.5), "config.inner.many[1] = 2.5 (float): expected int"),
        ("weights", {"a": "x"}, "config.inner.weights.a = 'x' (str): expected float"),
        (
            "weights",
            3,
            "config.inner.weights = 3: expected a group of fields, such as {name: value}",
        ),
        (
            "groups",
            ({}, 3),
            "config.inner.groups[1] = 3: expected a group of fields, such as {name: value}",
        ),
        (
            "kind",
            "gren",
            "config.inner.kind = 'gren'. Did you mean \"green\"? Allowed: 'red', 'green', 'none'",
        ),
    ],
)
def test_a_wrong_value_says_path_given_and_allowed(name, given, expected):
    assert inner_message(**{name: given}).startswith(expected)


def test_a_choice_is_not_none_by_itself():
    assert "Allowed: 'red', 'green', 'none'" in inner_message(kind=None)


def test_an_unknown_key_at_the_top_level():
    assert message({"iner": {}}) == (
        'config.iner: no such field. Did you mean "inner"? Allowed: inner, parts'
    )


def test_an_unknown_key_in_a_group():
    assert inner_message(sizes=1) == (
        'config.inner.sizes: no such field. Did you mean "size"? Allowed: '
        "size, rate, flag, label, kind, limit, path, pair, many, args, weights, groups"
    )


def test_an_unknown_key_that_resembles_nothing():
    assert message({"zz": 1}) == "config.zz: no such field. Allowed: inner, parts"


def test_a_key_that_is_no_text():
    assert message({1: 2}).startswith("config.1: no such field.")


@pytest.mark.parametrize("value", [3, "x", None, [1], (("inner", 1),)])
def test_a_value_where_a_group_stands(value):
    assert message(value) == f"config = {value!r}: expected a group of fields {{inner, parts}}"
    assert message({"inner": value}).startswith(
        f"config.inner = {value!r}: expected a group of fields {{size, rate,"
    )


def test_a_value_where_a_part_stands():
    assert message({"parts": {"itc": 3}}) == (
        "config.parts.itc = 3: expected a group of fields, such as {name: value}"
    )


def test_the_path_is_the_callers():
    with pytest.raises(ValueError, match=r"^config\.heads\.vqa\.siz: no such field"):
        checked_fields(Inner, {"siz": 1}, "config.heads.vqa")


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "size": st.integers(),
        "rate": st.floats(allow_nan=False),
        "flag": st.booleans(),
        "label": st.text(),
        "kind": st.sampled_from(["red", "green", "none"]),
        "limit": st.none() | st.integers(),
        "pair": st.tuples(st.floats(allow_nan=False), st.integers()),
        "many": st.lists(st.integers()),
        "args": st.dictionaries(st.text(), st.integers() | st.lists(st.text()) | st.none()),
        "weights": st.dictionaries(st.text(), st.integers(-9, 9)),
    },
)


@given(VALUES)
def test_plain_and_back_is_the_same_object(values):
    built = build(Inner, values, "config")
    assert build(Inner, to_plain(built), "config") == built


@given(VALUES)
def test_the_input_is_left_as_it_was(values):
    before = to_plain(values)
    build(Inner, values, "config")
    assert to_plain(values) == before


def test_plain_holds_only_what_json_has():
    plain = to_plain(build(Outer, {"inner": {"pair": [1, 2], "args": {"a": (1, (2,))}}}, "config"))
    assert plain["inner"]["pair"] == [1.0, 2] and plain["inner"]["args"] == {"a": [1, [2]]}
    assert list(plain) == [f.name for f in dataclasses.fields(Outer)]
