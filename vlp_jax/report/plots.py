"""Pictures of a report: learning curves as SVG, images and heat maps as PNG data addresses."""

import base64
import io
import re
from collections.abc import Sequence

import cv2
import numpy as np

from vlp_jax.metrics.checks import array_of_shape
from vlp_jax.report.content import Curve

# Colours that stand for CSS variables: matplotlib draws them, `_themed` swaps them, and so the
# curves follow the light or dark theme of the page.
_VARIABLE_OF = {"#010101": "--accent", "#020202": "--muted", "#030303": "--line"}
_ACCENT, _MUTED, _LINE = _VARIABLE_OF
_LARGEST_SIDE = 224
_FRAMED = 3  # strongest boxes
_BOX_GLOW = 0.65  # of the strongest box, so that what is in it can be seen


def png_address(image: np.ndarray, largest_side: int = _LARGEST_SIDE) -> str:
    """Returns a `data:image/png` address of a uint8 RGB image, made smaller where it is larger."""
    scale = largest_side / max(image.shape[:2])
    if scale < 1:
        size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return "data:image/png;base64," + base64.b64encode(png_bytes(image)).decode("ascii")


def png_bytes(image: np.ndarray) -> bytes:
    """Returns a uint8 RGB image [H, W, 3] as a PNG file."""
    return cv2.imencode(".png", np.ascontiguousarray(image[..., ::-1]))[1].tobytes()


def heat_overlay(image: np.ndarray, heat: np.ndarray, side: int = 144) -> np.ndarray:
    """Returns the image, greyed, with `heat` [h, w] glowing over it; its longer side is `side`.

    The map is scaled to its own minimum and maximum, so the colours show where a word looks and not
    how strongly; a constant map gives no glow.
    """
    heat = array_of_shape("heat", heat, ("h", "w")).astype(np.float32)
    size = _fitted(image, side)
    span = float(heat.max() - heat.min())
    heat = (heat - heat.min()) / span if span > 0 and np.isfinite(span) else np.zeros_like(heat)
    heat = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_CUBIC), 0.0, 1.0)
    return _glowing(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), heat)


def box_overlay(
    image: np.ndarray,
    boxes: np.ndarray,
    weights: np.ndarray,
    side: int,
    labels: Sequence[str] = (),
) -> np.ndarray:
    """Returns the image, greyed, with its boxes [N, 4] glowing as strongly as their weights [N].

    x1, y1, x2, y2 are pixels of the image. The three strongest are framed, with their labels or,
    without any, their shares of the sum. The glow is scaled to the strongest.
    """
    size = _fitted(image, side)
    scale = np.tile(size, 2) / np.tile(image.shape[1::-1], 2)
    corners = np.round(boxes * scale).astype(int)
    most, total = (float(x) or 1.0 for x in (weights.max(initial=0.0), weights.sum()))
    strength = weights / most
    heat = np.zeros(size[::-1], np.float32)
    order = np.argsort(strength, kind="stable")
    for (x1, y1, x2, y2), value in zip(corners[order].tolist(), strength[order]):
        heat[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = _BOX_GLOW * value
    overlay = _glowing(cv2.resize(image, size, interpolation=cv2.INTER_AREA), heat)
    labels = labels or [f"{weight / total:.0%}" for weight in weights]
    for row in order[-_FRAMED:]:
        _frame(overlay, corners[row].tolist(), labels[row])
    return overlay


def named_boxes(
    image: np.ndarray, boxes: np.ndarray, names: Sequence[str], least_side: int = 480
) -> np.ndarray:
    """Returns the image with its boxes [N, 4] framed and named, the first ones on top.

    x1, y1, x2, y2 are pixels of the image, which is enlarged where its longer side is shorter than
    `least_side`.
    """
    size = _fitted(image, max(least_side, *image.shape[:2]))
    scale = np.tile(size, 2) / np.tile(image.shape[1::-1], 2)
    drawn = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
    for box, name in list(zip(boxes, names, strict=True))[::-1]:
        _frame(drawn, np.round(box * scale).astype(int).tolist(), name)
    return drawn


def _frame(image: np.ndarray, corners: list[int], label: str) -> None:
    """Draws a box with a label inside its first corner."""
    x1, y1, x2, y2 = corners
    cv2.rectangle(image, (x1, y1), (x2, y2), (255, 255, 255), 1)
    (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
    cv2.rectangle(image, (x1, y1), (x1 + width + 3, y1 + height + 5), (20, 20, 20), cv2.FILLED)
    place = x1 + 2, y1 + height + 2
    cv2.putText(image, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,) * 3, 1, cv2.LINE_AA)


def _fitted(image: np.ndarray, side: int) -> list[int]:
    """Returns width and height of an image whose longer side becomes `side`."""
    height, width = image.shape[:2]
    return [max(1, round(side * length / max(height, width))) for length in (width, height)]


def _glowing(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Returns the image, greyed, with heat of its size, from 0 to 1, glowing over it."""
    picture = image.astype(np.float32)
    grey = picture.mean(-1, keepdims=True) * 0.55 + 60.0
    glow = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = 0.85 * heat[..., None]
    return (grey * (1 - weight) + glow * weight).clip(0, 255).astype(np.uint8)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Returns the centred moving average over about a twentieth of the curve, same length."""
    width = max(1, len(values) // 20) | 1
    padded = np.pad(values, width // 2, mode="edge")
    return np.convolve(padded, np.ones(width) / width, mode="valid")


def _themed(svg: str) -> str:
    """Returns an SVG for use inside HTML: no prologue, no addresses, colours as CSS variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (xmlns(:xlink)?|width|height)="[^"]*(pt|org[^"]*)"', "", svg)
    for colour, variable in _VARIABLE_OF.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg


def curve_svg(curve: Curve) -> str:
    """Returns a learning curve as an SVG element that takes its colours from the page.

    Long curves are drawn pale with their moving average on top. Values that are not finite are left
    out; a curve without any finite value gives an empty text.
    """
    steps = np.asarray(curve.steps, np.float64)
    values = np.asarray(curve.values, np.float64) * (100 if curve.percent else 1)
    finite = np.isfinite(steps) & np.isfinite(values)
    if not finite.any():
        return ""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    style = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8.5}
    with rc_context(style):
        figure = Figure(figsize=(3.2, 1.75))
        _draw(figure.add_axes((0.13, 0.15, 0.84, 0.8)), steps[finite], values[finite], curve)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True)
    return _themed(buffer.getvalue())


def _draw(axes, steps: np.ndarray, values: np.ndarray, curve: Curve) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    if len(values) >= 40:
        axes.plot(steps, values, color=_ACCENT, alpha=0.25, linewidth=0.8)
        axes.plot(steps, _smoothed(values), color=_ACCENT, linewidth=1.7)
    else:
        axes.plot(steps, values, color=_ACCENT, linewidth=1.7, marker="o", markersize=2.5)
    if curve.reference is not None:
        level = curve.reference * (100 if curve.percent else 1)
        axes.axhline(level, color=_MUTED, linewidth=1, linestyle=(0, (3, 3)))
    if curve.percent:
        axes.set_ylim(0, max(5.0, axes.get_ylim()[1]))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g} %"))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(colors=_MUTED, length=0, pad=4)
    axes.grid(axis="y", color=_LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
