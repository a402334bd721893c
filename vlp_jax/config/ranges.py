"""What a setting may be, written where the setting is: `steps: Annotated[int, Range(1)]`."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

# Arrays hold numbers in 32 bits: larger ones are infinite there, and smaller ones nothing.
_WHOLE = 2**31 - 1
_LEAST, _MOST = 2.0**-126, 2.0**127 * (2 - 2.0**-23)


class OutOfRange(ValueError):
    """A value of the right type outside of its range."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; an open end leaves its bound out. NaN is in no range."""

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def check(self, value: Any, path: str) -> None:
        """Raises ValueError unless the number `value` lies within; None passes."""
        if value is None:
            return
        if not self._holds(value):
            raise OutOfRange(f"{path} = {value!r:.80}: must be {self}")
        if not self._fits(value):
            raise OutOfRange(f"{path} = {value!r:.80}: 32 bits do not hold such a number")

    def _holds(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below and abs(value) < math.inf

    def _fits(self, value: float) -> bool:
        if isinstance(value, int):
            return abs(value) <= _WHOLE or abs(value) <= self.high < math.inf
        return value == 0 or _LEAST <= abs(value) <= _MOST

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
Epsilon = Annotated[float, Range(0, 1, low_open=True)]
Classes = Annotated[int, Range(2)]
