"""From the figures of finished runs to mean and deviation over seeds, beside chance."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlp_jax.config import nearest
from vlp_jax.metrics.figures import twin
from vlp_jax.sweep.states import Progress, State


@dataclass(frozen=True)
class Spread:
    """The values of one figure over the seeds of a group."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """The mean, or None without values."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def deviation(self) -> float | None:
        """The sample standard deviation (n - 1), or None of fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def text(self) -> str:
        """Returns "0.346 ± 0.012", "0.346" of one value or of equal ones, "–" of none."""
        if self.mean is None:
            return "–"
        shown = _number(self.mean)
        return f"{shown} ± {_number(self.deviation)}" if self.deviation else shown


@dataclass(frozen=True)
class Group:
    """A row of the table: a config in a variant, its runs and their figures."""

    name: str
    runs: tuple[Progress, ...]
    spreads: Mapping[str, Spread]

    @property
    def done(self) -> int:
        """How many of its runs are done."""
        return sum(p.state is State.DONE for p in self.runs)


@dataclass(frozen=True)
class Summary:
    """What a sweep has found.

    Attributes:
      figures: the names of the figures, in the order of the columns.
      groups: a row each, in the order of the runs.
      twins: "chance" and "blind" → the figures of that baseline over all runs.
      unknown: a message for each figure asked for that no run gave.
    """

    figures: tuple[str, ...]
    groups: tuple[Group, ...]
    twins: Mapping[str, Mapping[str, Spread]]
    unknown: tuple[str, ...]

    @property
    def incomplete(self) -> list[Progress]:
        """The runs that are not done."""
        return [p for group in self.groups for p in group.runs if p.state is not State.DONE]


def summarise(found: Sequence[Progress], figures: Sequence[str] = ()) -> Summary:
    """Returns the chosen figures over the seeds of each group.

    Without a choice these are all that have a chance level. A figure that no run gave has no
    values, and a message in `unknown`.
    """
    done = [p.figures for p in found if p.figures is not None]
    known = _numbers(done)
    figures = tuple(figures) or tuple(n for n in known if twin(n, "chance") in known)
    by_group: dict[str, list[Progress]] = {}
    for progress in found:
        by_group.setdefault(progress.run.group, []).append(progress)
    return Summary(
        figures=figures,
        groups=tuple(_group(name, runs, figures) for name, runs in by_group.items()),
        twins={
            kind: {name: _spread(done, twin(name, kind)) for name in figures}
            for kind in ("chance", "blind")
        },
        unknown=tuple(_unknown(name, known) for name in figures if done and name not in known),
    )


def _group(name: str, runs: Sequence[Progress], figures: Sequence[str]) -> Group:
    done = [p.figures for p in runs if p.figures is not None]
    return Group(name, tuple(runs), {figure: _spread(done, figure) for figure in figures})


def _spread(summaries: Iterable[Mapping[str, Any]], name: str) -> Spread:
    return Spread(tuple(float(s[name]) for s in summaries if _is_number(s.get(name))))


def _numbers(summaries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Returns the names of all figures that are numbers in any run, sorted."""
    return sorted({name for s in summaries for name, value in s.items() if _is_number(value)})


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _unknown(name: str, known: Sequence[str]) -> str:
    return f'no run gave the figure "{name}".{nearest(name, known)} Known: {", ".join(known)}'


def _number(value: float) -> str:
    """Returns shares with three decimals and larger numbers with fewer."""
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
