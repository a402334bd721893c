"""A benchmark's rows as a table for people."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from vlp_jax.cli.measure.bench import Row, Side
from vlp_jax.cli.measure.bench_contrastive import ContrastiveRow
from vlp_jax.cli.measure.bench_turns import Spread

_WIDTH = 132  # that the table needs
_COLUMNS = ("pairs", "ms a call", "pairs/s", "of ceiling", "MFU", "GFLOP a pair", "memory", "ratio")


def print_rows(rows: Sequence[Row], console: Console | None = None) -> None:
    """Prints a line for each library of each row; `ratio` is its time over ours."""
    console = console or Console()
    console = Console(file=console.file, width=max(console.width, _WIDTH))
    table = Table(box=box.SIMPLE)
    for name in ("model", "what", "by"):
        table.add_column(name)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    for row in rows:
        for name, side in row.sides.items():
            ratio = _spread(row.ratios[name]) if name in row.ratios else ""
            table.add_row(row.model, row.what, name, str(row.batch), *_cells(side), ratio)
    console.print(table)


def print_contrastive(row: ContrastiveRow, console: Console | None = None) -> None:
    """Prints the one line of the contrastive loss."""
    (console or Console()).print(
        f"contrastive loss with gradient, {row.rows:,} pairs of width {row.width} in "
        f"{row.dtype}: {_milliseconds(row.seconds)} ms, {row.temporary_bytes / 2**20:,.0f} MiB "
        f"beside its inputs and gradients, {row.flops / row.seconds.median / 1e12:.2f} TFLOP/s",
        highlight=False,
        soft_wrap=True,
    )


def _cells(side: Side) -> tuple[str, ...]:
    return (
        _milliseconds(side.seconds),
        f"{side.pairs_per_second:,.1f}",
        f"{side.ceiling_share:.0%}",
        f"{side.mfu:.1%}" if side.mfu is not None else "–",
        f"{side.flops_per_pair / 1e9:,.2f}",
        f"{side.memory_bytes / 2**20:,.0f} MiB" if side.memory_bytes is not None else "–",
    )


def _milliseconds(seconds: Spread) -> str:
    return _spread(Spread(*(1e3 * x for x in (seconds.median, seconds.low, seconds.high))), 1)


def _spread(spread: Spread, digits: int = 2) -> str:
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}–{spread.high:.{digits}f})"
