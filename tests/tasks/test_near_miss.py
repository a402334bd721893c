"""Tests of near-misses: whose score is higher, and that texts stay with their own images."""

import pytest

from tests.tasks.all_knowing import AllKnowing, Listed
from vlp_jax.tasks import Outcome
from vlp_jax.tasks.near_miss import NearMissEvaluation


def outcome_of(evaluated, source=None, limit=16):
    return NearMissEvaluation(limit=limit)(evaluated.run("near_miss", source), "near_miss")


@pytest.mark.parametrize(("sign", "accuracy"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_the_true_caption_against_the_false_one(right, sign, accuracy):
    right.forward = AllKnowing(right.experiment, sign=sign)
    outcome = outcome_of(right)
    found = outcome.figures
    assert found["near_miss_accuracy"] == accuracy
    assert found["near_miss_chance"] == 0.5
    assert 0 <= found["near_miss_blind"] <= 1 and found["near_miss_blind_name"]
    examples = outcome.failures[0].examples
    assert len(examples) == (0 if sign == 1 else 3)
    for example in examples:
        assert example.image.shape == (32, 32, 3)


def changed(source, **records):
    """Returns the first 16 records with some, by `_number`, replaced."""
    listed = [records.get(f"_{i}", source[i]) for i in range(16)]
    return Listed(listed, source.provides)


def test_texts_stay_with_their_images_where_records_cannot_be_used(right):
    source = right.forward.model.records
    records = dict(
        _1=ValueError("damaged"),
        _4=source[4] | {"captions": [""]},
        _6=source[6] | {"captions": []},
        _9={key: value for key, value in source[9].items() if key != "near_misses"},
        _11=source[11] | {"captions": ["", *source[11]["captions"]]},
    )
    run = right.run("near_miss", changed(source, **records))
    outcome = NearMissEvaluation(limit=16)(run, "near_miss")
    assert outcome.figures["near_miss_accuracy"] == 1.0
    used = sum(len(source[i].get("near_misses", ())) for i in range(16) if i not in (1, 4, 6, 9))
    assert outcome.rows[0].note.endswith(f"{used} pairs")
    assert [skipped.total for skipped in run._skipped.values()] == [3]


def test_a_source_without_them(right):
    source = right.forward.model.records
    records = [
        {k: v for k, v in r.items() if k != "near_misses"}
        for r in map(source.__getitem__, range(8))
    ]
    assert outcome_of(right, Listed(records, source.provides), limit=8) == Outcome()
