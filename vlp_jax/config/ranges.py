"""Ranges of numeric settings, written where the setting is: `steps: Annotated[int, Range(1)]`."""

import math
from dataclasses import dataclass
from typing import Annotated, Any


class OutOfRange(ValueError):
    """A number of the right type outside of its range."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; an open end leaves its bound out. NaN is in no range."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def check(self, value: Any, path: str) -> None:
        """Raises ValueError unless the number `value` lies within; None passes."""
        if value is None or self._holds(value):
            return
        raise OutOfRange(f"{path} = {value!r}: must be {self}")

    def _holds(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        if self.high == math.inf:
            return "finite" if self.low == -math.inf else f"{self._least()} {self.low:.10g}"
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"in {left}{self.low:.10g}, {self.high:.10g}{right}"

    def _least(self) -> str:
        return "above" if self.low_open else "at least"


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, low_open=True)]
NonNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
Fraction = Annotated[float, Range(0, 1, high_open=True)]
Finite = Annotated[float, Range()]
