"""Pictures of the report: round trips of colours, overlays, and curves that follow the theme."""

import base64

import cv2
import numpy as np
import pytest

from vlp_jax.report.content import Curve
from vlp_jax.report.plots import curve_svg, heat_overlay, named_boxes, png_address


def _decoded(address):
    data = np.frombuffer(base64.b64decode(address.split(",")[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def test_png_keeps_every_pixel_and_the_order_of_channels():
    image = np.random.default_rng().integers(0, 256, (5, 7, 3), np.uint8)
    assert np.array_equal(_decoded(png_address(image)), image)


def test_large_images_are_made_smaller():
    image = np.full((300, 600, 3), (255, 0, 0), np.uint8)
    small = _decoded(png_address(image, largest_side=60))
    assert small.shape == (30, 60, 3) and (small == (255, 0, 0)).all()


def test_overlay_glows_at_the_peak_and_keeps_the_aspect():
    heat = np.zeros((4, 4))
    heat[0, 3] = 1.0
    overlay = heat_overlay(np.full((32, 64, 3), 128, np.uint8), heat, side=80).astype(int)
    assert overlay.shape == (40, 80, 3)
    colourful = np.ptp(overlay, axis=-1)
    assert colourful[:10, 60:].mean() > 40 and colourful[25:, :20].max() == 0


@pytest.mark.parametrize("heat", [np.zeros((2, 2)), np.full((2, 2), np.nan)])
def test_a_map_without_a_peak_gives_no_glow(heat):
    overlay = heat_overlay(np.full((8, 8, 3), 50, np.uint8), heat)
    assert np.ptp(overlay.astype(int), axis=-1).max() == 0


def test_curve_follows_the_page_and_names_no_address():
    steps = np.arange(100)
    svg = curve_svg(Curve(steps, np.exp(-steps / 30), reference=0.5))
    assert svg.startswith("<svg") and "http" not in svg and "#010101" not in svg
    assert "var(--accent)" in svg and "var(--muted)" in svg


def test_values_that_are_not_finite_are_left_out():
    assert curve_svg(Curve([0, 1], [np.nan, np.inf])) == ""
    assert curve_svg(Curve([], [])) == ""
    assert "nan" not in curve_svg(Curve([0, 1, 2], [1.0, np.nan, 2.0])).lower()


def test_named_boxes_frame_what_they_name_the_first_on_top():
    grey, boxes = np.full((60, 120, 3), 100, np.uint8), np.array([[30, 10, 90, 50], [0, 0, 40, 30]])
    drawn = named_boxes(grey, boxes, ["a dog", "a cat"], least_side=240)
    assert drawn.shape == (120, 240, 3) and (grey == 100).all()
    assert (drawn[20, 150:180] == 255).all() and (drawn[100, 60:180] == 255).all()
    assert (drawn[60, 10:50] == 255).all() and (drawn[110:, 200:] == 100).all()
    # The name stands on the other box's frame.
    assert (drawn[22:30, 61:64] == 20).any() and not (drawn[22:30, 80] == 255).all()
    assert named_boxes(grey, boxes, ["a", "b"], least_side=10).shape == grey.shape
    with pytest.raises(ValueError):
        named_boxes(grey, boxes, ["one"])
