"""Pictures as detectors of bottom-up attention read them: enlarged, B, G, R, less the mean."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from vlp_jax.detectors.resampling import resampled

# What the trunk's first pooling needs.
LEAST_SIDE = 3


class PixelRule(NamedTuple):
    """How a picture is prepared.

    Attributes:
      shortest, longest: pixels of its shorter side, unless its longer one then had more.
      resize: "float", linear without smoothing, each side by its own ratio; "pillow", linear with
        smoothing, in 8 bits; "opencv", linear without smoothing, both sides by one ratio.
      channels: "bgr" is what published weights were trained with. "rgb" is what the published
        program hands them for a local file when its configuration says BGR; the mean is not turned.
      mean, std: of B, G, R.
    """

    shortest: int = 800
    longest: int = 1333
    resize: Literal["float", "pillow", "opencv"] = "float"
    channels: Literal["bgr", "rgb"] = "bgr"
    mean: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


class Prepared(NamedTuple):
    """A picture for the network, and by how much its height and width were multiplied."""

    pixels: Float[np.ndarray, "h w 3"]
    enlarged: tuple[float, float]


def prepare(image: UInt8[np.ndarray, "h w 3"], rule: PixelRule = PixelRule()) -> Prepared:
    """Returns an RGB picture as float32 in the order and size that the rule says.

    Raises ValueError for a picture so narrow that nothing would be left of its shorter side.
    """
    short, long = sorted(image.shape[:2])
    left = round(short * rule.longest / long)
    if left < LEAST_SIDE:
        raise ValueError(
            f"a picture of {image.shape[1]} x {image.shape[0]} pixels is too narrow: with its "
            f"longer side resized to {rule.longest} the shorter one has {left}, expected at least "
            f"{LEAST_SIDE}"
        )
    resized, enlarged = _RESIZES[rule.resize](image, rule)
    ordered = resized[..., ::-1] if rule.channels == "bgr" else resized
    return Prepared((ordered - np.float32(rule.mean)) / np.float32(rule.std), enlarged)


def _new_size(height: int, width: int, rule: PixelRule) -> tuple[int, int]:
    """The longer side is limited in a second step, as in the original; halves are rounded up."""
    ratio = rule.shortest / min(height, width)
    shorter, longer = float(rule.shortest), ratio * max(height, width)
    if longer > rule.longest:
        shorter, longer = (side * (rule.longest / longer) for side in (shorter, longer))
    short, long = int(shorter + 0.5), int(longer + 0.5)
    return (short, long) if height < width else (long, short)


def _by_side(image: np.ndarray, rule: PixelRule, resize: Callable) -> tuple[np.ndarray, tuple]:
    height, width = _new_size(*image.shape[:2], rule)
    ratios = height / image.shape[0], width / image.shape[1]
    return resize(image, (width, height)).astype(np.float32), ratios


def _float(image: np.ndarray, rule: PixelRule) -> tuple[np.ndarray, tuple[float, float]]:
    linear = lambda image, size: cv2.resize(image.astype(np.float32), size)
    return _by_side(image, rule, linear)


def _pillow(image: np.ndarray, rule: PixelRule) -> tuple[np.ndarray, tuple[float, float]]:
    smooth = lambda image, size: resampled(image, size, Image.Resampling.BILINEAR)
    return _by_side(image, rule, smooth)


def _opencv(image: np.ndarray, rule: PixelRule) -> tuple[np.ndarray, tuple[float, float]]:
    short, long = sorted(image.shape[:2])
    ratio = rule.shortest / short
    if round(ratio * long) > rule.longest:
        ratio = rule.longest / long
    return cv2.resize(image.astype(np.float32), None, fx=ratio, fy=ratio), (ratio, ratio)


_RESIZES = {"float": _float, "pillow": _pillow, "opencv": _opencv}
