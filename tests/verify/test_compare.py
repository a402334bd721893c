"""Tolerances: which rule applies to which output, and what counts as a difference."""

from pathlib import Path

import numpy as np
import pytest

from vlp_jax.layers.tokens import Tokens
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.compare import compare, tolerance


def bundle(name="albef-x", expected=None, **config):
    return Bundle(Path(name), config, {}, expected or {}, Path("none"))


def row(expected, value, **config):
    (result,) = compare(bundle(expected={"y": np.asarray(expected)}, **config), {"y": value})
    return result


@pytest.mark.parametrize(
    "largest, rounding, allowed",
    [(1.0, 0.0, 1e-5), (50.0, 0.0, 1e-5), (0.01, 0.0, 1e-5), (1.0, 4e-6, 4e-5), (0.01, 1e-8, 1e-5)],
)
def test_outputs_may_err_by_ten_roundings_and_at_least_a_hundred_thousandth(
    largest, rounding, allowed
):
    values = np.array([largest, -largest / 3], np.float32)
    made = bundle(float64_max_abs_diff={"y": rounding})
    assert tolerance(made, "y", values) == pytest.approx(allowed)


@pytest.mark.parametrize("name", ["grad/temp", "grad_param_norms", "step0/grad/temp"])
def test_gradients_may_err_by_a_ten_thousandth_of_the_largest_entry(name):
    assert tolerance(bundle(), name, np.array([3.0, -20.0])) == pytest.approx(2e-3)


def test_detectors_may_err_by_a_ten_thousandth_of_the_largest_entry():
    boxes, made = np.array([3.0, 200.0]), bundle(detector="a", float64_max_abs_diff={"b": 1e-2})
    assert tolerance(made, "a", boxes) == pytest.approx(2e-2)
    assert tolerance(made, "b", boxes) == pytest.approx(1e-1)


def test_gradients_of_key_biases_are_noise():
    name = "grad/encoder.layer.0.attention.self.key.bias"
    assert tolerance(bundle(), name, np.array([1e-9, -2e-9])) == 1e-5
    assert tolerance(bundle(), name.replace("key", "query"), np.array([1e-9])) < 1e-12


def test_small_scale_bundles_are_judged_by_the_spread_of_each_array():
    values = np.array([0.01, 0.03])
    assert tolerance(bundle("albef-smallscale-z"), "y", values) == pytest.approx(2e-5 * 0.01)
    scaled = bundle(conventions={"scale": "all LayerNorm scales near 0.02"})
    assert tolerance(scaled, "y", values) == pytest.approx(2e-5 * 0.01)
    assert tolerance(scaled, "loss", np.array(4.0)) == 1e-5
    assert tolerance(scaled, "grad/x", values) == pytest.approx(3e-6)


def test_error_is_the_largest_absolute_difference():
    result = row([1.0, 2.0], np.array([1.0, 2.5]))
    assert result.error == 0.5 and not result.passed
    assert row([1.0, 2.0], np.array([1.0, 2.0 + 5e-6])).passed


def test_only_valid_positions_count():
    expected = np.zeros((1, 2, 3), np.float32) + 1
    value = expected.copy()
    value[0, 1] = 9
    assert row(expected, Tokens(value, np.array([[True, False]]))).passed
    assert not row(expected, Tokens(value, np.array([[True, True]]))).passed
    assert row(expected, Tokens(value, np.zeros((1, 2), bool))).passed


@pytest.mark.parametrize("value", [[0, 2, 1], [0, 1, 3]])
def test_rankings_and_booleans_must_be_identical(value):
    assert row([0, 1, 2], np.array([0, 1, 2])).passed
    assert not row([0, 1, 2], np.array(value)).passed
    assert row([True, False], np.array([True, True])).error == 1


def test_not_a_number_never_passes():
    assert not row([1.0, 2.0], np.array([np.nan, 2.0])).passed
    assert not row([np.nan, 2.0], np.array([np.nan, 2.0])).passed


def test_a_wrong_shape_and_a_missing_output_say_so():
    assert row(np.zeros((2, 3)), np.zeros((3, 2))).note == "shape (3, 2), expected (2, 3)"
    assert row(np.zeros(2), None).note == "not computed"
