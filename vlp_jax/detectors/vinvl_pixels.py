"""Pictures as VinVL's detector reads them: enlarged in 8 bits, B, G, R, less the mean."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vlp_jax.detectors.pixels import Prepared
from vlp_jax.detectors.resampling import resampled

MEAN = (103.530, 116.280, 123.675)
"""Of B, G, R."""

# The longer side of a picture, in shorter ones, from which on there is too little to look at.
NARROWEST = 40
# By how much the longer side may be above its limit, as rounding the shorter one multiplies.
SLACK = NARROWEST // 2


def prepare_vinvl(
    image: UInt8[np.ndarray, "h w 3"],
    shortest: int = 600,
    longest: int = 1000,
    mean: tuple[float, float, float] = MEAN,
) -> Prepared:
    """Returns an RGB picture as float32 B, G, R whose shorter side has `shortest` pixels.

    It has fewer where the longer one had more than `longest`. Raises ValueError for a picture more
    than `NARROWEST` times as long as wide. Source: scene_graph_benchmark's transforms.
    """
    before = image.shape[:2]
    height, width = enlarged_size(*before, shortest, longest)
    resized = resampled(image, (width, height), Image.Resampling.BILINEAR)
    # To one and back, as the original does: it rounds twice.
    scaled = resized[..., ::-1].astype(np.float32) / np.float32(255) * np.float32(255)
    return Prepared(scaled - np.float32(mean), (height / before[0], width / before[1]))


def enlarged_size(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """Returns height and width of the resized picture.

    The shorter side is rounded, and the longer one, which follows from it, is cut to whole pixels;
    so it may be longer than `longest`, by at most `SLACK`.
    """
    short, long = sorted((height, width))
    if long > NARROWEST * short:
        raise ValueError(
            f"a picture of {width} x {height} pixels is too narrow: its longer side is "
            f"{long / short:.0f} times its shorter one, expected at most {NARROWEST} times"
        )
    side = shortest
    if long / short * side > longest:
        side = round(longest * short / long)
    other = int(side * long / short)
    return (side, other) if height <= width else (other, side)
