"""The figures of a run as a table in the terminal."""

import sys
from collections.abc import Sequence
from typing import TextIO

from vlp_jax.tasks.outcome import TableRow

_HEADINGS = ("metric", "model", "chance", "blind", "note")


def _cells(row: TableRow) -> tuple[str, ...]:
    values = (row.text(row.model), row.text(row.chance), row.text(row.blind))
    return (row.metric, *values, row.note)


def plain_table(rows: Sequence[TableRow]) -> str:
    """Returns the rows as aligned plain text, one line each below a line of headings."""
    lines = [_HEADINGS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    aligned = []
    for name, *values, note in lines:
        numbers = (value.rjust(width) for value, width in zip(values, widths[1:]))
        aligned.append("  ".join((name.ljust(widths[0]), *numbers, note)).rstrip())
    return "\n".join(aligned)


def print_table(rows: Sequence[TableRow], file: TextIO | None = None) -> None:
    """Prints the rows, in colour on a terminal and as plain text elsewhere."""
    file = file or sys.stdout
    if not file.isatty():
        print(plain_table(rows), file=file)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    styles = (None, "bold green", "dim", "yellow", "dim")
    for heading, style in zip(_HEADINGS, styles):
        number = heading in ("model", "chance", "blind")
        table.add_column(heading, style=style, justify="right" if number else "left")
    group = rows[0].group if rows else ""
    for row in rows:
        if row.group != group:
            table.add_section()
            group = row.group
        table.add_row(*map(Text, _cells(row)))
    Console(file=file).print(table)
