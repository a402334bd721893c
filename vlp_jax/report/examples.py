"""Single examples of a report as HTML: retrieval queries, heat-map strips and cards."""

from collections.abc import Iterable
from html import escape

import numpy as np

from vlp_jax.report.plots import heat_overlay, png_address
from vlp_jax.tasks.outcome import AnswerExample, HeatMap, PairExample, RetrievalExample


def _picture(image: np.ndarray, description: str) -> str:
    return f'<img src="{png_address(image)}" alt="{escape(description)}" loading="lazy">'


def _score(example: RetrievalExample, place: int) -> str:
    return "" if example.scores is None else f"{example.scores[place]:.2f}"


def _rank(example: RetrievalExample) -> str:
    found = [place for place, right in enumerate(example.correct, start=1) if right]
    rank = found[0] if found else example.rank
    if rank is None:
        return '<span class="rank">the right one is not among these</span>'
    return f'<span class="rank">right one at rank {rank:,}</span>'


def _thumb(example: RetrievalExample, place: int) -> str:
    right = example.correct[place]
    number = f"{'✓ ' if right else ''}{place + 1}"
    label = " · ".join(filter(None, (number, _score(example, place))))
    picture = _picture(example.candidates[place], f"candidate {place + 1}")
    return f'<div class="thumb{" right" if right else ""}">{picture}{label}</div>'


def _caption_line(example: RetrievalExample, place: int) -> str:
    right = example.correct[place]
    mark, css = ("✓", ' class="right"') if right else (str(place + 1), "")
    text = escape(example.candidates[place])
    return (
        f'<li{css}><span class="mark">{mark}</span><span>{text}</span>'
        f"<span>{_score(example, place)}</span></li>"
    )


def retrieval_html(example: RetrievalExample) -> str:
    """Returns one query beside its candidates: a row of pictures or a list of captions."""
    places = range(len(example.candidates))
    if example.query_is_text:
        ask = f"“{escape(example.query)}”"
        found = "".join(_thumb(example, place) for place in places)
        found = f'<div class="thumbs">{found}</div>'
    else:
        ask = _picture(example.query, "the query image")
        found = "".join(_caption_line(example, place) for place in places)
        found = f'<ol class="captions">{found}</ol>'
    return f'<div class="query"><div class="ask">{ask}{_rank(example)}</div>{found}</div>'


def heat_map_html(heat_map: HeatMap) -> str:
    """Returns a strip: the image, then one overlay a word."""
    overlays = (heat_overlay(heat_map.image, heat) for heat in heat_map.maps)
    return strip_html(heat_map.image, zip(heat_map.words, overlays))


def strip_html(
    image: np.ndarray, overlays: Iterable[tuple[str, np.ndarray]], css: str = "strip"
) -> str:
    """Returns a strip: the image, then overlays of it with the text below each."""
    figures = [
        f'<figure class="whole">{_picture(image, "the image")}'
        "<figcaption>the image</figcaption></figure>"
    ]
    for text, overlay in overlays:
        shown = _picture(overlay, f"heat map of {text}")
        figures.append(f"<figure>{shown}<figcaption>{escape(text)}</figcaption></figure>")
    return f'<div class="{css}">{"".join(figures)}</div>'


def _answer_card(example: AnswerExample) -> str:
    sure = "" if example.confidence is None else f" <small>{example.confidence:.0%} sure</small>"
    mark, css = ("✓", "good") if example.right else ("✗", "bad")
    truth = "" if example.right else f"<p><small>right answer:</small> {escape(example.answer)}</p>"
    return (
        f'<div class="card">{_picture(example.image, "the image")}<div>'
        f"<p>{escape(example.question)}</p>"
        f'<p class="said {css}">{mark} {escape(example.prediction)}{sure}</p>{truth}</div></div>'
    )


def _pair_card(example: PairExample) -> str:
    mark, css = ("✓", "good") if example.right else ("✗", "bad")
    return (
        f'<div class="card">{_picture(example.image, "the image")}<div>'
        f"<p><small>true, {example.true_score:.2f}</small><br>{escape(example.truth)}</p>"
        f'<p class="{css}"><small>foil, {example.foil_score:.2f}</small><br>'
        f"{mark} {escape(example.foil)}</p></div></div>"
    )


def example_html(example: AnswerExample | PairExample | RetrievalExample) -> str:
    """Returns the card of one example; a retrieval example takes its own wide row."""
    if isinstance(example, RetrievalExample):
        return f'<div style="grid-column:1/-1">{retrieval_html(example)}</div>'
    return _answer_card(example) if isinstance(example, AnswerExample) else _pair_card(example)
