"""What `explain` found, drawn: one panel a word, in a picture or on a page."""

import io
import math
import textwrap
from html import escape

import numpy as np

from vlp_jax.inference import Explanation
from vlp_jax.report.examples import strip_html
from vlp_jax.report.page import page_html
from vlp_jax.report.plots import box_overlay, heat_overlay

_SIDE = 224  # of a panel
_COLUMNS = 5
_LETTERS = 26  # of the title above a panel
_NAMED = 2  # strongest regions whose names stand below a panel
_TOLD = {
    "gradcam": "Attention times its positive gradients by the matching logit (Grad-CAM).",
    "attention": "The attention of each word, the mean over heads.",
    "alignment": "Which share of each word goes to which region in optimal transport.",
}
_SCALED = "Each panel is scaled to itself: compare places, not strengths."
_SHARES = " Numbers are shares of what the word gives to all regions."


def panels(found: Explanation, side: int = _SIDE) -> list[tuple[str, np.ndarray]]:
    """Returns for each word its text, with the names of its regions, and a uint8 picture."""
    return [(_label(found, i), _overlay(found, i, side)) for i in range(len(found.words))]


def explanation_html(found: Explanation, text: str) -> str:
    """Returns a page that needs nothing else."""
    head = (
        f"<header><h1>{escape(text)}</h1>"
        f'<p class="intro">{escape(" ".join(_said(found)))}</p></header>'
    )
    hint = _SCALED + _SHARES * (found.weights is not None)
    strip = strip_html(found.picture, panels(found), css="strip large")
    return page_html(text, (head, strip, f'<p class="hint">{hint}</p>'))


def explanation_png(found: Explanation, text: str) -> bytes:
    """Returns a PNG with the picture and the panel of each word."""
    from matplotlib.figure import Figure

    shown = [("", found.picture), *panels(found)]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    height, width = found.picture.shape[:2]
    size = 2.2 * columns, (2.2 * min(height / width, 3) + 0.3) * rows + 0.7
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    title = "\n".join(textwrap.fill(x, _LETTERS * columns) for x in [text, *_said(found)])
    figure.suptitle(title, fontsize=10, parse_math=False)
    for place, (label, pixels) in enumerate(shown, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(pixels)
        axes.set_title(label, fontsize=9, parse_math=False)
        axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _said(found: Explanation) -> list[str]:
    chance = found.probability
    match = [] if chance is None else [f"They match with a probability of {chance:.1%}."]
    return [*match, _TOLD[found.method]]


def _overlay(found: Explanation, word: int, side: int) -> np.ndarray:
    if found.maps is not None:
        return heat_overlay(found.picture, found.maps[word], side)
    return box_overlay(found.picture, found.boxes, found.weights[word], side)


def _label(found: Explanation, word: int) -> str:
    """Returns a word, with the names of the regions that weigh most where they have some."""
    if found.names is None:
        return found.words[word]
    strongest = np.argsort(-found.weights[word], kind="stable")[:_NAMED]
    return f"{found.words[word]} → {', '.join(found.names[i] for i in strongest)}"
