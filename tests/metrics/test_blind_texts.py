"""Text-only baselines: contexts and their back-offs, probabilities that sum to one, rules."""

import math

import numpy as np
import pytest

from vlp_jax.metrics.blind_texts import (
    ContextMLM,
    TextPlausibility,
    best_blind_near_miss,
    blind_near_miss_accuracies,
)

MASK, CLS, SEP = 4, 2, 3
SENTENCES = [[CLS, 10, 11, 12, SEP]] * 2 + [[CLS, 20, 21, 12, SEP], [CLS, 10, 30, SEP]]
ONES = np.ones((2, 3), int)


def test_both_neighbours_decide():
    model = ContextMLM.fit(SENTENCES)
    assert model.predict([CLS, MASK, 11, 12, SEP], 1) == 10
    assert model.predict([CLS, MASK, 21, 12, SEP], 1) == 20
    assert model.predict([CLS, 10, MASK, SEP], 2) == 30
    assert model.predict([CLS, 10, MASK, 12, SEP], 2) == 11


def test_unknown_or_masked_neighbours_back_off():
    model = ContextMLM.fit(SENTENCES)
    assert model.predict([CLS, 10, MASK, MASK, SEP], 2) == 11  # left neighbour alone
    assert model.predict([CLS, MASK, 21, 99, SEP], 1) == 20  # right neighbour alone
    assert model.predict([99, 98, MASK, 97, 96], 2) == CLS  # the most frequent token of all


def test_accuracy_counts_labelled_positions_and_ignores_padding_ids():
    model = ContextMLM.fit(SENTENCES)
    ids = np.array([[CLS, MASK, 11, 12, SEP, 0], [CLS, 10, MASK, SEP, 0, 0]])
    labels = np.full(ids.shape, -100)
    labels[0, 1], labels[1, 2] = 10, 77
    assert model.accuracy(ids, labels, ids != 0) == 0.5
    assert math.isnan(model.accuracy(ids, np.full(ids.shape, -100), ids != 0))


def test_order_of_sequences_does_not_matter():
    rng = np.random.default_rng()
    sequences = [list(row) for row in rng.integers(5, 9, (30, 6))]
    shuffled = [sequences[i] for i in rng.permutation(30)]
    probe = list(rng.integers(5, 9, 6))
    for position in range(6):
        first = ContextMLM.fit(sequences).predict(probe, position)
        assert ContextMLM.fit(shuffled).predict(probe, position) == first


def test_plausibility_by_hand():
    model = TextPlausibility.fit(["a b", "a c"], order=1)
    # Unigrams: a 2, b 1, c 1, end 2: six steps of four kinds, floor 1/5.
    share = {"a": (2 + 4 / 5) / 10, "b": (1 + 4 / 5) / 10, "end": (2 + 4 / 5) / 10}
    assert model.score("a b") == pytest.approx(sum(map(math.log, share.values())))


def test_plausibility_shares_sum_to_one():
    model = TextPlausibility.fit(["a red cup", "a blue cup", "the red dog"])
    words = ["a", "red", "cup", "blue", "the", "dog", "\n", "never seen"]
    for history in (("\n", "\n"), ("a", "red"), ("x", "y"), ("x", "red")):
        assert sum(model._share(history, word) for word in words) == pytest.approx(1.0)


def test_usual_order_is_preferred():
    model = TextPlausibility.fit(["a dog on a mat", "a cat on a mat", "a dog on a sofa"])
    assert model.score("a cat on a sofa") > model.score("on a a sofa cat")


def test_the_best_rule_is_named():
    train = ["a b", "b c", "a b"]
    accuracy, name = best_blind_near_miss(train, ["x y", "x y"], ["x y z", "x y w"])
    assert accuracy == 1.0 and name in ("n-gram plausibility", "the shorter text")
    found = blind_near_miss_accuracies(train, ["x y"], ["y x z"])
    assert found["the shorter text"] == 1.0 and found["the longer text"] == 0.0


def test_swaps_that_training_never_favours_stay_at_chance():
    names = ["apple", "dog", "cat", "cup"]
    captions = [f"a {a} left of a {b}" for a in names for b in names if a != b]
    foils = [f"a {b} left of a {a}" for a in names for b in names if a != b]
    found = blind_near_miss_accuracies(captions, captions, foils)
    assert set(found.values()) == {0.5}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ContextMLM.fit([]), "zero tokens"),
        (lambda: ContextMLM.fit(SENTENCES).accuracy(ONES, ONES.T, None), "mlm_labels has shape"),
        (lambda: TextPlausibility.fit([]), "zero texts"),
        (lambda: TextPlausibility.fit(["a"], order=0), "order is 0"),
        (lambda: best_blind_near_miss(["a"], ["a"], []), "equal lengths"),
        (lambda: best_blind_near_miss(["a"], [], []), "zero pairs"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
