"""The report: everything escaped, self-contained, sections left out when empty, fast."""

import re
import time
from html.parser import HTMLParser

import numpy as np

from vlp_jax.report.content import Curve, Report
from vlp_jax.report.page import report_html, write_report
from vlp_jax.tasks.outcome import (
    AnswerExample,
    Failure,
    HeatMap,
    PairExample,
    RetrievalExample,
    TableRow,
)

NASTY = "<script>alert(\"x\")</script> & 'a' $body"
VOID = {"meta", "img", "br", "link"}


def _image(side=24):
    return np.random.default_rng().integers(0, 256, (side, side, 3), np.uint8)


def _full(text=NASTY):
    answers = [AnswerExample(_image(), text, text, text, score, 0.5) for score in (1.0, 0.0)]
    by_text = RetrievalExample(text, [_image() for _ in range(5)], [False] * 4 + [True])
    by_image = RetrievalExample(_image(), [text] * 5, [False] * 5, [0.1] * 5, rank=1234)
    return Report(
        title=text,
        intro=text,
        facts={text: text},
        rows=[
            TableRow(text, 0.5, 0.25, 0.3, text, text, headline=True, interval=(0.41, 0.59)),
            TableRow("n", None),
        ],
        curves={text: ([0, 1, 2], [3.0, 2.0, 1.0]), "acc": Curve([0, 1], [0.1, 0.9], 0.5, True)},
        retrieval=[by_text, by_image],
        heat_maps=[HeatMap(_image(), [text, "dog"], np.random.default_rng().random((2, 4, 4)))],
        answers=answers,
        failures=[
            Failure(
                text, text, {text: 0.2, "b": float("nan")}, {text: 0.1}, answers, [(text, "y", 7)]
            ),
            Failure("pairs", examples=[PairExample(_image(), text, text, 0.1, 0.2), by_text]),
        ],
        warnings=[text],
        attribution=[text],
        config_text=text,
    )


class _Balance(HTMLParser):
    """Checks that every tag is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_every_text_is_escaped_and_every_tag_closed():
    html = report_html(_full())
    assert "<script" not in html and "alert(&quot;x&quot;)" in html
    balance = _Balance()
    balance.feed(html)
    assert balance.open == [] and {"svg", "img", "table", "details"} <= balance.seen


def without_pictures(html: str) -> str:
    """Returns a page without its pictures, which as base64 may spell any word."""
    return re.sub(r"base64,[\w+/=]*", "", html)


def test_nothing_is_loaded_from_elsewhere():
    html = report_html(_full("plain"))
    written = without_pictures(html)
    assert "http" not in written and "@import" not in written and "<link" not in written
    assert all(source.startswith("data:image/png") for source in re.findall(r'src="([^"]*)', html))
    assert not re.findall(r"url\((?!#)", html)


def test_missing_sections_are_left_out():
    html = report_html(Report(title="only a title"))
    assert "<h1>only a title</h1>" in html
    assert "<section" not in html and "<footer" not in html and "<details" not in html
    titles = re.findall(r"<h2>(.*?)</h2>", report_html(_full("x")))
    assert titles == [
        "What it reached",
        "How it learned",
        "What it finds",
        "Where each word looks",
        "What it answers",
        "Where it fails",
        "All figures",
    ]


def test_ranks_marks_and_advantage_are_shown():
    html = report_html(_full("x"))
    assert "right one at rank 5" in html and "right one at rank 1,234" in html
    assert html.count("✓ x") == 2 and html.count("✗ x") == 3  # 1 + 1 right, 1 + 1 wrong, 1 foil
    assert "× 2.0" in html and "50.0 % <small>41.0 – 59.0</small>" in html
    assert "guessing 10.0 %" in html and '<td>x</td><td>y</td><td class="n">7 ×</td>' in html
    assert html.count('class="thumb right"') == 2


def test_a_dashed_line_is_spoken_of_where_there_is_one():
    curves = {"loss": ([0, 1], [3.0, 2.0])}
    assert "dashed" not in report_html(Report("x", curves=curves))
    curves["accuracy"] = Curve([0, 1], [0.1, 0.9], 0.25, percent=True)
    html = report_html(Report("x", curves=curves))
    assert "a dashed line is chance" in html and html.count("stroke-dasharray") == 1


def test_file_is_written_whole_and_quickly(tmp_path):
    full = _full("x")
    curves = {f"curve {i}": (np.arange(1000), np.random.rand(1000)) for i in range(12)}
    busy = Report(**{**vars(full), "curves": curves, "answers": list(full.answers) * 12})
    start = time.process_time()
    path = write_report(tmp_path / "run" / "report.html", busy)
    assert time.process_time() - start < 8  # measured: about a second; slack for a busy machine
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
