"""Tests of drawing wrong pairs: the published shares and labels."""

from collections import Counter

import numpy as np
import pytest

from vlp_jax.data.pairing import PAIRINGS, Pairing

SHARES = {
    "none": {(None, 0): 1.0},
    "caption": {(None, 0): 0.5, ("caption", 1): 0.5},
    "oscar": {(None, 0): 0.5, ("second", 1): 0.5},
    "oscarplus": {(None, 0): 0.5, ("second", 1): 0.25, ("caption", 2): 0.25},
    "second_caption": {(None, 0): 0.5, ("second", 1): 0.5},
}


@pytest.mark.parametrize("name", PAIRINGS)
def test_shares_and_labels_are_the_published_ones(name):
    rng = np.random.default_rng(0)
    drawn = Counter(PAIRINGS[name].draw(rng) for _ in range(4000))
    shares = {key: count / 4000 for key, count in drawn.items()}
    assert shares == pytest.approx(SHARES[name], abs=0.04)


def test_a_pairing_draws_one_number_and_none_draws_nothing():
    for name, used in (("none", 0), ("oscarplus", 1)):
        rng, other = np.random.default_rng(3), np.random.default_rng(3)
        PAIRINGS[name].draw(rng)
        other.random(used)
        assert rng.random() == other.random()
    assert PAIRINGS["none"] == Pairing()
