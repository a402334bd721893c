"""A sweep's figures as one picture: a panel a figure, a row a group, every seed a dot."""

import importlib.util
import logging
from pathlib import Path

from vlp_jax.sweep.figures import Spread, Summary

logger = logging.getLogger(__name__)

_ROW_HEIGHT, _PANEL_WIDTH = 0.34, 2.6
_ACCENT, _MUTED = "#2f6f9f", "#888888"


def write_plot(summary: Summary, path: Path) -> bool:
    """Writes the picture as PNG; False, and no file, if there is nothing to draw.

    Bars are means with the sample standard deviation over seeds, the dashed line is chance. Without
    matplotlib there is a warning and no file.
    """
    drawn = [n for n in summary.figures if any(g.spreads[n].values for g in summary.groups)]
    if not drawn:
        return False
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning("no plot: matplotlib is not installed (pip install 'vlp_jax[train]')")
        return False
    from matplotlib.figure import Figure  # without pyplot it needs no display

    size = (2.5 + _PANEL_WIDTH * len(drawn), 1.0 + _ROW_HEIGHT * len(summary.groups))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, drawn):
        _draw(axes, name, summary)
    panels[0].set_yticks(range(len(summary.groups)), [g.name for g in summary.groups])
    panels[0].invert_yaxis()
    figure.savefig(path, format="png", dpi=150)
    return True


def _draw(axes, name: str, summary: Summary) -> None:
    for row, group in enumerate(summary.groups):
        _draw_row(axes, row, group.spreads[name])
    chance = summary.twins["chance"][name].mean
    if chance is not None:
        axes.axvline(chance, color=_MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_title(name, fontsize=9)
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.tick_params(labelsize=8, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_row(axes, row: int, spread: Spread) -> None:
    if spread.mean is None:
        return
    axes.barh(row, spread.mean, height=0.6, color=_ACCENT, alpha=0.35)
    if spread.deviation is not None:
        axes.errorbar(spread.mean, row, xerr=spread.deviation, color=_ACCENT, capsize=3)
    axes.plot(spread.values, [row] * len(spread.values), "o", color=_ACCENT, markersize=3)
