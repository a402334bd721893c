"""A sweep's figures as a table: Markdown for people, CSV for programs."""

import csv
import io
from collections.abc import Iterable, Sequence

from vlp_jax.sweep.figures import Group, Summary
from vlp_jax.sweep.states import LOG, Progress, State


def markdown(summary: Summary) -> str:
    """Returns a table with a row a group, then chance and blind baselines, then what is missing.

    Cells are "mean ± sample standard deviation over seeds".
    """
    head = ["run", "seeds", *summary.figures]
    rows = [_row(group, summary.figures) for group in summary.groups]
    for kind, spreads in summary.twins.items():
        if any(spread.values for spread in spreads.values()):
            rows.append([f"*{kind}*", "", *(spreads[name].text() for name in summary.figures)])
    lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)]), *map(_line, rows)]
    text = "\n".join(lines) + "\n"
    if summary.incomplete:
        text += "\nNot done:\n\n" + "\n".join(map(_missing, summary.incomplete)) + "\n"
    return text


def comma_separated(summary: Summary) -> str:
    """Returns the same rows with a column each for mean, deviation and number of values."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = [f"{name}_{part}" for name in summary.figures for part in ("mean", "std", "n")]
    writer.writerow(["run", "config", "settings", "seeds", "done", "failed", *parts])
    for group in summary.groups:
        writer.writerow([*_about(group), *_numbers(group, summary.figures)])
    return text.getvalue()


def _row(group: Group, figures: Iterable[str]) -> list[str]:
    seeds = f"{group.done}/{len(group.runs)}"
    return [group.name, seeds, *(group.spreads[name].text() for name in figures)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _missing(progress: Progress) -> str:
    where = f" (`{progress.run.workdir / LOG}`)" if progress.state is State.FAILED else ""
    why = f": {progress.failure}{where}" if progress.failure else ""
    return f"* {progress.run.name}: {progress.state.value}{why}"


def _about(group: Group) -> list[str | int]:
    run = group.runs[0].run
    seeds = " ".join(str(p.run.seed) for p in group.runs)
    failed = sum(p.state is State.FAILED for p in group.runs)
    return [group.name, run.spec, " ".join(run.settings), seeds, group.done, failed]


def _numbers(group: Group, figures: Iterable[str]) -> list[float | int | None]:
    spreads = [group.spreads[name] for name in figures]
    return [cell for s in spreads for cell in (s.mean, s.deviation, len(s.values))]
