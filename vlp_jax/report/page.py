"""The report of a run: one HTML file that needs nothing else, neither network nor scripts."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from string import Template

from vlp_jax.data.whole_file import write_whole
from vlp_jax.report.content import Curve, Report
from vlp_jax.report.examples import example_html, heat_map_html, retrieval_html
from vlp_jax.tasks.outcome import TableRow
from vlp_jax.training.progress import time_text


def write_report(path: str | os.PathLike, report: Report) -> Path:
    """Writes the report as one HTML file, whole or not at all, and returns its path."""
    return write_whole(path, report_html(report))


def report_html(report: Report) -> str:
    """Returns the whole page; sections without content are left out."""
    sections = (
        _head(report),
        _headlines(report.rows),
        _curves(report),
        _retrieval(report),
        _heat_maps(report),
        _answers(report),
        _failures(report),
        _table(report.rows),
        _spent(report.spent),
        _foot(report),
    )
    return page_html(report.title, sections)


def page_html(title: str, sections: Iterable[str]) -> str:
    """Returns a page that needs nothing else; empty sections are left out.

    Sections are HTML, the title is text.
    """
    template = files(__package__).joinpath("template.html").read_text(encoding="utf-8")
    body = "\n".join(filter(None, sections))
    return Template(template).substitute(title=escape(title), body=body)


def _section(title: str, hint: str, parts: Iterable[str], css: str = "") -> str:
    body = "\n".join(parts)
    head = f'<h2>{escape(title)}</h2>\n<p class="hint">{escape(hint)}</p>'
    return f'<section class="{css}">\n{head}\n{body}\n</section>'


def _head(report: Report) -> str:
    facts = "".join(
        f"<div><dt>{escape(label)}</dt><dd>{escape(str(text))}</dd></div>"
        for label, text in report.facts.items()
    )
    return "\n".join(
        (
            f"<header><h1>{escape(report.title)}</h1>",
            f'<p class="intro">{escape(report.intro)}</p>' if report.intro else "",
            f'<dl class="facts">{facts}</dl>' if facts else "",
            *(f'<p class="warning">{escape(text)}</p>' for text in report.warnings),
            "</header>",
        )
    )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _bar(value: float, css: str, mark: float | None = None) -> str:
    """Returns a bar filled to `value`, with a tick at `mark`, both shares in 0..1."""
    width = 100 * min(max(value, 0.0), 1.0)
    tick = f'<u style="left:{100 * min(max(mark, 0.0), 1.0):.2f}%"></u>' if _finite(mark) else ""
    return f'<div class="bar"><i class="{css}" style="width:{width:.2f}%"></i>{tick}</div>'


def _model(row: TableRow) -> str:
    """Returns the model's figure with its interval, where it has one."""
    if row.interval is None:
        return row.text(row.model)
    low, high = (row.text(end).removesuffix(" %") for end in row.interval)
    return f"{row.text(row.model)} <small>{low} – {high}</small>"


def _headline(row: TableRow) -> str:
    bars = ""
    if row.unit == "percent":
        named = (("model", row.model), ("chance", row.chance), ("blind", row.blind))
        bars = "".join(
            f"<span>{name}</span>{_bar(value, name)}<span>{row.text(value)}</span>"
            for name, value in named
            if _finite(value)
        )
    elif _finite(row.chance):
        bars = f"<span>chance</span><span></span><span>{row.text(row.chance)}</span>"
    return (
        f'<div class="headline"><div class="name">{escape(row.metric)}</div>'
        f'<div class="big">{_model(row)}</div><div class="bars">{bars}</div></div>'
    )


def _headlines(rows: Sequence[TableRow]) -> str:
    shown = [_headline(row) for row in rows if row.headline]
    if not shown:
        return ""
    hint = (
        "Chance is guessing. Blind is the best baseline that never sees the image. The small range "
        "is where 95 of 100 test sets like this one would put the figure (bootstrap)."
    )
    return _section(
        "What it reached", hint, ['<div class="headlines">', *shown, "</div>"], css="first"
    )


def _advantage(row: TableRow) -> str:
    """Returns how far the model is from chance: "× 31" for shares where that says something."""
    if row.unit != "percent" or not (_finite(row.model) and _finite(row.chance)) or not row.chance:
        return ""
    ratio = row.model / row.chance
    return f"× {ratio:.1f}" if ratio < 10 else f"× {ratio:.0f}"


def _table_line(row: TableRow) -> str:
    return (
        f'<tr><td>{escape(row.metric)}</td><td class="n model">{_model(row)}</td>'
        f'<td class="n">{row.text(row.chance)}</td><td class="n">{_advantage(row)}</td>'
        f'<td class="n blind">{row.text(row.blind)}</td>'
        f'<td class="note">{escape(row.note)}</td></tr>'
    )


def _table(rows: Sequence[TableRow]) -> str:
    if not rows:
        return ""
    lines = []
    for group, members in groupby(rows, key=lambda row: row.group):
        if group:
            lines.append(f'<tr class="group"><td colspan="6">{escape(group)}</td></tr>')
        lines += [_table_line(row) for row in members]
    head = (
        '<tr><th>metric</th><th class="n">model</th><th class="n">chance</th>'
        '<th class="n">model / chance</th><th class="n">blind</th><th>note</th></tr>'
    )
    body = "".join(lines)
    table = f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
    table = f'<div class="scroll">{table}</div>'
    return _section("All figures", "As in summary.json.", [table])


def _spent(spent: Mapping[str, float]) -> str:
    if not spent:
        return ""
    total = sum(spent.values())
    lines = (
        f'<tr><td>{escape(name)}</td><td class="n">{time_text(seconds)}</td>'
        f'<td class="n">{seconds / total:.1%}</td></tr>'
        for name, seconds in spent.items()
    )
    hint = f"Of the {time_text(total)} since the training was first started, all starts together."
    return _section("Where the time went", hint, ["<table><tbody>", *lines, "</tbody></table>"])


def _curve_figure(title: str, curve: Curve | tuple) -> str:
    from vlp_jax.report.plots import curve_svg

    curve = curve if isinstance(curve, Curve) else Curve(*curve)
    if not (svg := curve_svg(curve)):
        return ""
    last = float(curve.values[-1])
    shown = f"{100 * last:.1f} %" if curve.percent else f"{last:.3g}"
    caption = f"<figcaption>{escape(title)}<span>{shown}</span></figcaption>"
    return f"<figure>{caption}{svg}</figure>"


def _curves(report: Report) -> str:
    figures = [_curve_figure(*item) for item in (report.curves or {}).items()]
    if not any(figures):
        return ""
    dashed = any(isinstance(c, Curve) and c.reference is not None for c in report.curves.values())
    hint = (
        "Over training steps; the number is the last value" + ", a dashed line is chance." * dashed
    )
    return _section("How it learned", hint, ['<div class="curves">', *figures, "</div>"])


def _retrieval(report: Report) -> str:
    parts = []
    for title, by_text in (("Caption → images", True), ("Image → captions", False)):
        examples = [e for e in report.retrieval or () if e.query_is_text == by_text]
        if examples:
            parts += [f"<h3>{title}</h3>", *map(retrieval_html, examples)]
    hint = "Held-out queries and their candidates, best first; the right one is framed and ticked."
    return _section("What it finds", hint, parts) if parts else ""


def _heat_maps(report: Report) -> str:
    hint = (
        "One picture a word. Bright is where the word looks; each map is scaled to itself, so "
        "compare places, not strengths."
    )
    strips = [heat_map_html(heat_map) for heat_map in report.heat_maps or ()]
    return _section("Where each word looks", hint, strips) if strips else ""


def _answers(report: Report) -> str:
    parts = []
    for title, right in (("Right", True), ("Wrong", False)):
        cards = [example_html(e) for e in report.answers or () if e.right == right]
        if cards:
            parts += [f"<h3>{title}</h3>", '<div class="cards">', *cards, "</div>"]
    hint = "Held-out questions with the predicted answer, and the right one where it differs."
    return _section("What it answers", hint, parts) if parts else ""


def _weakness(name: str, share: float, chance: float | None) -> str:
    beside = f" <small>guessing {100 * chance:.1f} %</small>" if _finite(chance) else ""
    shown = f"{100 * share:.1f} %" if _finite(share) else "–"
    bar = _bar(share if _finite(share) else 0.0, "model", mark=chance)
    return f"<span>{escape(name)}</span>{bar}<span>{shown}{beside}</span>"


def _confusions(confusions: Sequence[tuple[str, str, int]]) -> str:
    lines = "".join(
        f'<tr><td>{escape(truth)}</td><td>{escape(said)}</td><td class="n">{count:,} ×</td></tr>'
        for truth, said, count in confusions
    )
    head = '<tr><th>right answer</th><th>answered instead</th><th class="n">how often</th></tr>'
    return f'<table class="confusions"><thead>{head}</thead><tbody>{lines}</tbody></table>'


def _failures(report: Report) -> str:
    parts = []
    for failure in report.failures or ():
        parts.append(f"<h3>{escape(failure.title)}</h3>")
        if failure.note:
            parts.append(f"<p>{escape(failure.note)}</p>")
        if failure.shares:
            worst_first = sorted(failure.shares.items(), key=lambda item: item[1])
            bars = (_weakness(n, share, failure.chances.get(n)) for n, share in worst_first)
            parts += ['<div class="weak">', *bars, "</div>"]
        if failure.confusions:
            parts.append(_confusions(failure.confusions))
        if failure.examples:
            parts += ['<div class="cards">', *map(example_html, failure.examples), "</div>"]
    hint = (
        "The weakest kinds of case first; a tick on a bar is what the best guess reaches that sees "
        "no image."
    )
    return _section("Where it fails", hint, parts) if parts else ""


def _foot(report: Report) -> str:
    config = ""
    if report.config_text:
        text = escape(report.config_text)
        config = f"<details><summary>Resolved configuration</summary><pre>{text}</pre></details>"
    credit = "".join(f"<p>{escape(line)}</p>" for line in report.attribution)
    return config + (f"<footer>{credit}</footer>" if credit else "")
