"""Intervals by bootstrap: their width is that of theory, and groups are drawn whole."""

import numpy as np
import pytest

from vlp_jax.metrics.bootstrap import bootstrap_interval


def test_the_interval_of_a_share_is_as_wide_as_theory_says():
    right = np.arange(400) % 4 == 0
    low, high = bootstrap_interval(right)
    error = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    assert low == pytest.approx(0.25 - error, abs=0.006)
    assert high == pytest.approx(0.25 + error, abs=0.006)
    assert bootstrap_interval(right) == (low, high)


def test_cases_of_one_owner_are_drawn_together():
    right, owners = np.repeat([0.0, 1.0] * 50, 9), np.repeat(np.arange(100), 9)
    low, high = bootstrap_interval(right, owners)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(100), rel=0.1)
    alone = bootstrap_interval(right)
    assert alone[1] - alone[0] < 0.4 * (high - low)


def test_equal_and_missing_values():
    assert bootstrap_interval([1.0] * 5) == (1.0, 1.0) and bootstrap_interval([]) is None
