"""Prints verdicts: one table for each bundle, and a last line that says it all."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from vlp_jax.verify.compare import Row
from vlp_jax.verify.runner import Verdict


def print_verdicts(verdicts: Sequence[Verdict], console: Console | None = None) -> int:
    """Prints each output's error, tolerance and verdict; returns the exit status, 0 if all pass."""
    console = console or Console()
    for verdict in verdicts:
        console.print(_table(verdict) if verdict.rows else f"{verdict.path}: {verdict.problem}")
    failed = [v for v in verdicts if not v.passed]
    rows = sum(len(v.rows) for v in verdicts)
    console.print(
        f"{len(verdicts) - len(failed)} of {len(verdicts)} bundles pass ({rows} outputs)"
        + "".join(f"\n  fails: {v.path}" for v in failed),
        highlight=False,
    )
    return 1 if failed or not verdicts else 0


def _table(verdict: Verdict) -> Table:
    table = Table(
        title=f"{verdict.path.name} ({verdict.kind}, {verdict.seconds:.1f} s)", title_justify="left"
    )
    table.add_column("output", overflow="fold")
    for name in ("max abs error", "tolerance", "verdict"):
        table.add_column(name, justify="right")
    for row in verdict.rows:
        table.add_row(row.name, f"{row.error:.2e}", f"{row.tolerance:.2e}", _verdict(row))
    return table


def _verdict(row: Row) -> str:
    if row.passed:
        return "[green]pass[/]"
    return f"[red]{row.note or 'fail'}[/]"
