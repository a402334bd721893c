"""Tests of chains of transforms: stages, equal ones, conflicts, and what comes out."""

from dataclasses import dataclass

import numpy as np
import pytest

from vlp_jax.config.plugins import PluginError
from vlp_jax.data.batch import FIELDS, Field
from vlp_jax.data.transforms import Chain, Stage, Transform


@dataclass(frozen=True)
class Noted(Transform):
    """Appends its name to the note "order"."""

    name: str

    def __call__(self, example, rng):
        return {"order": [*example.get("order", ()), self.name]}


def noted(name, stage):
    kind = dataclass(frozen=True)(type(f"At{stage.name}", (Noted,), {"stage": stage}))
    return kind(name)


@dataclass(frozen=True)
class Length(Transform):
    """Makes the field "length", of this many numbers."""

    count: int

    makes = {"length": Field(("float32",), ("B", "N"), "numbers")}

    def __call__(self, example, rng):
        return {"length": rng.random(self.count).astype(np.float32)}


@dataclass(frozen=True)
class Show(Transform):
    """Makes "image_id" of the note "order"."""

    seen: list

    __hash__ = object.__hash__

    def __call__(self, example, rng):
        self.seen.append(list(example["order"]))
        return {"image_id": np.int32(7)}


def run(*transforms, record=None, others=None, seed=0):
    return Chain(transforms)(record or {}, np.random.default_rng(seed), others)


def test_stages_work_one_after_the_other_whatever_the_order_given():
    stages, seen = list(Stage), []
    given = [noted(stage.name, stage) for stage in reversed(stages)]
    run(*given, Show(seen))
    assert seen == [["PAIRS", "PICTURE", "REGIONS", "SHAPES", "TEXT", "LABELS"]]


def test_those_of_one_stage_work_as_they_were_given():
    for names in ("abc", "cab"):
        seen = []
        run(*(noted(name, Stage.TEXT) for name in names), Show(seen))
        assert seen == [list(names)]


def test_equal_transforms_work_once():
    seen = []
    run(Noted("a"), Noted("b"), Noted("a"), Show(seen))
    assert seen == [["a", "b"]]
    out = run(Length(2), Length(2))
    once = np.random.default_rng(0).random(2).astype(np.float32)
    np.testing.assert_array_equal(out["length"], once)


def test_two_that_make_a_field_in_different_ways_are_refused():
    with pytest.raises(
        ValueError,
        match=r'two tasks make the batch field "length" in different ways: Length\(count=2\) and '
        r"Length\(count=3\)\. Give them the same settings",
    ):
        Chain([Length(2), Length(3)])


def test_a_chain_knows_the_shared_fields_and_those_that_it_makes():
    assert Chain([]).fields == FIELDS
    assert Chain([Length(2)]).fields == FIELDS | Length.makes
    assert "length" not in FIELDS


def test_notes_and_unknown_fields_do_not_come_out():
    assert run(Noted("a"), Show([])) == {"image_id": 7}


def test_a_transform_sees_the_record_and_what_was_made_before():
    class Sum(Transform):
        def __call__(self, example, rng):
            return {"image_id": np.int32(example.record["number"] + len(example["order"]))}

    assert run(Noted("a"), Sum(), record={"number": 4})["image_id"] == 5


@dataclass(frozen=True)
class Stranger(Transform):
    """Makes "image_id" of another record."""

    draw: int

    def __call__(self, example, rng):
        return {"image_id": np.int32(example.others(self.draw)["number"])}


def test_others_are_the_pipelines_and_none_without_one():
    others = lambda draw: {"number": 10 + draw}
    assert run(Stranger(1), others=others)["image_id"] == 11
    with pytest.raises(ValueError, match="needs the other records: read the source through a"):
        run(Stranger(1))


def test_random_numbers_come_from_one_generator_in_the_order_of_work():
    first, second = run(Length(2), seed=3), run(Length(2), seed=4)
    np.testing.assert_array_equal(first["length"], run(Length(2), seed=3)["length"])
    assert not np.array_equal(first["length"], second["length"])


def test_errors_of_a_transform_are_those_of_the_chain():
    class Broken(Transform):
        def __call__(self, example, rng):
            raise ValueError("this record ails")

    with pytest.raises(ValueError, match="this record ails"):
        run(Broken())
    with pytest.raises(NotImplementedError):
        run(Transform())


@pytest.mark.parametrize("given", [(1, 2), None, [("text", 1)]])
def test_what_is_no_entries_by_name_is_no_fault_of_the_record(given):
    class Wrong(Transform):
        def __call__(self, example, rng):
            return given

    with pytest.raises(PluginError, match="^transform Wrong gives .*, expected entries by name"):
        Chain([Wrong()])({}, np.random.default_rng())
