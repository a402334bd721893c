"""Panels of an explanation: words, names of regions, and text that is HTML or a formula."""

import cv2
import numpy as np
import pytest

from vlp_jax.inference import Explanation
from vlp_jax.report.explanation import explanation_html, explanation_png, panels

TEXT = r"a <i>$\frac$ & dog"
WORDS = ("a", r"<i>$\frac$", "dog")
PICTURE = np.full((60, 90, 3), 120, np.uint8)


def of_pixels() -> Explanation:
    return Explanation(WORDS, "gradcam", PICTURE, maps=np.random.default_rng().random((3, 4, 4)))


def of_regions() -> Explanation:
    boxes = np.array([[0, 0, 30, 30], [60, 30, 90, 60]], np.float32)
    weights = np.array([[0.1, 0.3], [0.3, 0.1], [0, 0]], np.float32)
    names = ("<b>", "sofa")
    return Explanation(
        WORDS, "alignment", PICTURE, weights=weights, boxes=boxes, names=names, probability=0.25
    )


@pytest.mark.parametrize("made", [of_pixels, of_regions])
def test_a_page_and_a_picture_of_both_kinds(made):
    page = explanation_html(made(), TEXT)
    assert page.count("<figure") == 4 and r"&lt;i&gt;$\frac$ &amp; dog" in page
    assert "<i>" not in page and "<b>" not in page
    picture = cv2.imdecode(np.frombuffer(explanation_png(made(), TEXT), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 2 * picture.shape[0] and picture.min() < 60


def test_regions_are_named_the_heaviest_first_and_glow():
    (first, pixels), (second, _), (_, nothing) = panels(of_regions())
    assert first == "a → sofa, <b>" and second.endswith("→ <b>, sofa")
    colour = np.ptp(pixels.astype(int), axis=-1)
    strong, weak, outside = colour[100:140, 180:210], colour[40:70, 20:60], colour[100:140, 20:60]
    assert strong.mean() > weak.mean() > outside.mean() == 0
    assert np.ptp(nothing.astype(int), axis=-1).max() == 0


def test_the_probability_is_told_where_there_is_one():
    assert "They match with a probability of 25.0%." in explanation_html(of_regions(), TEXT)
    assert "probability" not in explanation_html(of_pixels(), TEXT)
