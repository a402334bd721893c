"""Tests of mixtures: choices, batch numbers and resumption."""

from collections import Counter

import numpy as np
import pytest

from tests.data.chains import chain
from tests.data.fakes import FakeSource
from vlp_jax.data.mixture import Mixture
from vlp_jax.data.pipeline import Pipeline

CHAIN = chain(provides={"image", "caption"})


def mixture(seed=0, broken=(), order="drawn", **first_steps):
    return Mixture(
        [
            ("a", Pipeline(FakeSource(12), CHAIN, 4), 3),
            ("b", Pipeline(FakeSource(9, seed=1, broken=broken), CHAIN, 4, seed=5), 1),
        ],
        seed,
        order,
        first_steps=first_steps,
    )


def test_each_source_is_read_in_its_own_order():
    mixed, seen = mixture(), Counter()
    for step in range(25):
        name = mixed.choice(step)
        expected = mixed[name].batch(seen[name])
        expected["image_id"] = expected["image_id"] * 2 + "ab".index(name)
        seen[name] += 1
        for field, value in mixed.batch(step).items():
            np.testing.assert_array_equal(value, expected[field])
    assert set(seen) == {"a", "b"}


def test_taking_turns():
    mixed = mixture(order="in_turn")
    assert [mixed.choice(step) for step in range(5)] == list("ababa")
    for step, (name, number) in enumerate([("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)]):
        expected = mixed[name].batch(number)["text_ids"]
        np.testing.assert_array_equal(mixed.batch(step)["text_ids"], expected)


@pytest.mark.parametrize("order", ["drawn", "in_turn"])
def test_resumption_at_any_step_needs_no_history(order):
    for start in (0, 7, 1023, 5000):
        stream = mixture(order=order).iterate(start)
        for step in range(start, start + 6):
            batch, expected = next(stream), mixture(order=order).batch(step)
            for field, value in batch.items():
                np.testing.assert_array_equal(value, expected[field])
        stream.close()


def test_choices_have_their_shares_and_depend_on_the_seed():
    choices = [mixture().choice(step) for step in range(4000)]
    assert abs(choices.count("a") / 4000 - 0.75) < 0.03
    late_first = mixture()
    assert [late_first.choice(3999), late_first.choice(0)] == [choices[3999], choices[0]]
    assert choices[:50] != [mixture(seed=1).choice(step) for step in range(50)]


def test_a_part_joins_at_its_first_step():
    late, never_late = mixture(b=1500), mixture()
    choices = [late.choice(step) for step in range(4000)]
    assert set(choices[:1500]) == {"a"} and choices[1500:].count("b") > 500
    assert choices[1500:] == [never_late.choice(step) for step in range(1500, 4000)]
    first = choices.index("b")
    expected = mixture()["b"].batch(0)["text_ids"]
    np.testing.assert_array_equal(mixture(b=1500).batch(first)["text_ids"], expected)


def test_some_part_has_to_be_there_at_first():
    with pytest.raises(ValueError, match="at step 0: a, b join at 2, 1"):
        mixture(a=2, b=1)


def test_images_of_different_parts_have_different_ids():
    mixed, seen = mixture(), {"a": set(), "b": set()}
    stream = mixed.iterate()
    for step in range(25):
        batch = next(stream)
        assert batch["image_id"].dtype == np.int32
        seen[mixed.choice(step)].update(batch["image_id"].tolist())
    stream.close()
    assert (len(seen["a"]), len(seen["b"])) == (12, 9) and not seen["a"] & seen["b"]


def test_the_only_part_keeps_its_ids():
    pipeline = Pipeline(FakeSource(8, broken={3: {"image_id": -7}}), CHAIN, 8)
    only = Mixture([("a", pipeline, 1)])
    assert sorted(only.batch(0)["image_id"]) == [-7, 0, 1, 2, 4, 5, 6, 7]


@pytest.mark.parametrize("image_id", [2**30, -1])
def test_ids_that_do_not_fit_are_refused(image_id):
    mixed = mixture(broken={4: {"image_id": image_id}})
    message = f"image_id {image_id} of source b must be from 0 to 1073741823, because .* 2 "
    with pytest.raises(ValueError, match=message):
        for step in range(30):
            mixed.batch(step)


def test_skipped_records_carry_the_name_of_their_part():
    mixed = mixture(broken={4: {"image": b"junk"}})
    for step in range(30):
        mixed.batch(step)
    assert set(mixed.skipped) == {"b/4"} and mixed.skipped_total == 1


def test_wrong_settings_are_refused():
    pipeline = Pipeline(FakeSource(8), CHAIN, 4)
    with pytest.raises(ValueError, match="different names"):
        Mixture([("a", pipeline, 1), ("a", pipeline, 1)])
    with pytest.raises(ValueError, match="different names"):
        Mixture([])
    with pytest.raises(ValueError, match="above 0"):
        Mixture([("a", pipeline, 0)])
    with pytest.raises(ValueError, match="seed is -1"):
        Mixture([("a", pipeline, 1)], -1)
    with pytest.raises(ValueError, match='Did you mean "flickr"'):
        Mixture([("flickr", pipeline, 1)])["flicker"]
