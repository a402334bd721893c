"""Compares computed outputs with a bundle's, each within the tolerance that suits it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.layers.tokens import Tokens
from vlp_jax.verify.bundle import DETECTORS, LOSSES, METRICS, VERBS, Bundle

# Ten times the rounding level that the reference itself shows between float32 and float64.
ROUNDING_FACTOR = 10.0
LEAST_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-4
SMALL_SCALE_TOLERANCE = 2e-5
# Losses with explicit inputs pass through no network that could add up rounding.
LOSS_TOLERANCE = 2e-6
LOSS_GRADIENT_TOLERANCE = 1e-5
# Of metrics, absolute: CLIP_benchmark averages in float32, the others in float64.
METRIC_TOLERANCE = 1e-6
# From raw inputs to logits; what regions become on the way, where a sum is over a picture's rows.
VERB_TOLERANCE = 1e-4
BOX_TOLERANCE = 1e-6
SUM_TOLERANCE = 2e-5
# Of the largest entry: boxes are in pixels, and heads make much of what a trunk rounds.
DETECTOR_TOLERANCE = 1e-4
# The share of captions that may be cut differently: the original tokeniser has hundreds of rules.
TOKEN_TOLERANCE = 0.02

# Softmax ignores a shift of all keys, so the gradient of a key bias is zero and what a file holds
# is rounding noise.
_NOISE = re.compile(r"^grad/.*\bkey\d?\.bias$")


@dataclass(frozen=True)
class Row:
    """One output: its largest error over the valid positions, and what is allowed.

    `note` says what went wrong where no error can be computed.
    """

    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return not self.note and self.error <= self.tolerance


def compare(bundle: Bundle, computed: Mapping[str, Any]) -> list[Row]:
    """Returns one row for each expected output.

    Values of `computed` are arrays, or `Tokens` whose mask [B, T] says which positions count.
    Whole numbers, booleans and strings must be identical; error counts those that are not. Of
    captions cut into tokens, `TOKEN_TOLERANCE` may differ.
    """
    return [_row(bundle, name, computed.get(name)) for name in bundle.expected]


def _row(bundle: Bundle, name: str, value: Any) -> Row:
    expected = bundle.expected[name]
    if value is None:
        return Row(name, np.nan, 0.0, "not computed")
    states = np.asarray(value.states if isinstance(value, Tokens) else value)
    if states.shape != expected.shape:
        return Row(name, np.nan, 0.0, f"shape {states.shape}, expected {expected.shape}")
    if isinstance(value, Tokens):
        mask = np.asarray(value.mask)
        states, expected = states[mask], expected[mask]
    if expected.size == 0:
        return Row(name, 0.0, 0.0)
    if not np.issubdtype(expected.dtype, np.floating):
        return Row(name, float((states != expected).sum()), _allowed_differences(name, expected))
    error = np.abs(states.astype(np.float64) - expected.astype(np.float64)).max()
    return Row(name, float(error), tolerance(bundle, name, expected))


def _allowed_differences(name: str, expected: np.ndarray) -> float:
    cut = re.match(r"captions/(.*_ptb|tokenizer/.*)$", name)
    return TOKEN_TOLERANCE * expected.size if cut else 0.0


def tolerance(bundle: Bundle, name: str, expected: np.ndarray) -> float:
    """Returns the largest absolute error allowed for an output with these (valid) values."""
    if str(bundle.config.get("model")).startswith(f"{VERBS}/"):
        return _verb_tolerance(name)
    rounding = ROUNDING_FACTOR * float(bundle.config.get("float64_max_abs_diff", {}).get(name, 0))
    largest = float(np.abs(expected).max())
    if bundle.config.get("model") == METRICS.partition("/")[0]:
        return METRIC_TOLERANCE
    if bundle.config.get("model") == LOSSES.partition("/")[0]:
        return largest * (LOSS_GRADIENT_TOLERANCE if "/grad/" in name else LOSS_TOLERANCE)
    if DETECTORS in bundle.config:
        return max(rounding, DETECTOR_TOLERANCE * largest)
    if _NOISE.match(name):
        return max(rounding, LEAST_TOLERANCE)
    if re.match(r"(.*/)?grad(/|_)", name):
        return max(rounding, GRADIENT_TOLERANCE * largest)
    if bundle.small_scale and expected.size > 1:
        # Two steps of float32: a loss near ln V is all offset, and the reference rounds it too.
        step = 2 * float(np.spacing(np.float32(largest)))
        return max(step, SMALL_SCALE_TOLERANCE * float(expected.std()))
    return max(rounding, LEAST_TOLERANCE)


def _verb_tolerance(name: str) -> float:
    if name.endswith("_sums"):
        return SUM_TOLERANCE
    return BOX_TOLERANCE if name.endswith("box_inputs") else VERB_TOLERANCE
