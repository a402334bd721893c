"""The terminal table: aligned plain text where there is no terminal, colour where there is."""

import io

from vlp_jax.report.table import plain_table, print_table
from vlp_jax.tasks.outcome import TableRow

ROWS = [
    TableRow("Image → text R@1", 0.283, 1 / 512, None, group="Retrieval"),
    TableRow("Scene [questions]", 0.684, 0.19, 0.447, "majority", group="Answers"),
]


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_are_aligned():
    assert plain_table(ROWS).splitlines() == [
        "metric              model  chance   blind  note",
        "Image → text R@1   28.3 %  0.20 %       –",
        "Scene [questions]  68.4 %  19.0 %  44.7 %  majority",
    ]


def test_without_a_terminal_plain_text_is_printed():
    out = io.StringIO()
    print_table(ROWS, out)
    assert out.getvalue() == plain_table(ROWS) + "\n"


def test_on_a_terminal_markup_in_a_name_stays_text(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = _Terminal()
    print_table(ROWS, out)
    assert "\x1b[" in out.getvalue()
    assert "Scene [questions]" in out.getvalue()
