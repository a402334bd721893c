"""The small cases of a detector's bundle: anchors, boxes, suppression and pooling on their own."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from vlp_jax.detectors.anchors import STRIDE, grid_anchors
from vlp_jax.detectors.boxes import Sides, clip, decode, large_enough
from vlp_jax.detectors.pooling import align_regions, pool_regions
from vlp_jax.detectors.suppression import suppress
from vlp_jax.verify.bundle import Bundle

_ONES = (1.0, 1.0, 1.0, 1.0)


def unit_cases(
    bundle: Bundle, cells: Mapping[str, np.ndarray], sides: Sides, head: tuple[float, ...]
) -> dict[str, Any]:
    """Returns the outputs "unit/…" that the bundle expects.

    `cells` are anchors of a cell by the name of their sizes, `head` the weights of box deltas.
    """
    given = {name.removeprefix("unit/"): x for name, x in bundle.inputs.items()}
    weights = {"rpn": _ONES, "head": head}
    cases: dict[str, Callable[..., Any]] = {
        r"anchors_cell_(\w+)": lambda which: cells[which],
        r"anchors_(\d+)x(\d+)_(\w+)": lambda h, w, which: grid_anchors(
            cells[which], int(h), int(w)
        ),
        r"decode_(rpn|head)": lambda which: _decoded(given, weights[which], sides).reshape(
            given["decode_deltas"].shape
        ),
        r"decode_head_clipped": lambda: clip(_decoded(given, head, sides), _size(given), sides),
        r"remove_small_(\d+)": lambda least: _large(given["small_boxes"], float(least), sides),
        r"(nms|nms_equal)_keep_([\d.]+)": lambda case, t: _kept(given, case, float(t)),
        r"roi_(pool|align)_(\d+)(?:_sampling0)?": lambda way, bins: _pooled(given, way, int(bins)),
    }
    found = {}
    for name in bundle.expected:
        for pattern, make in cases.items():
            if match := re.fullmatch(f"unit/{pattern}", name):
                found[name] = make(*match.groups())
    return found


def _decoded(given: Mapping[str, np.ndarray], weights: Any, sides: Sides) -> Any:
    boxes, deltas = given["decode_boxes"], given["decode_deltas"]
    return decode(boxes[:, None], deltas.reshape(len(boxes), -1, 4), weights, sides).reshape(-1, 4)


def _size(given: Mapping[str, np.ndarray]) -> np.ndarray:
    size = given["clip_hw"] if "clip_hw" in given else given["clip_wh"][::-1]
    return size.astype(np.float32)


def _large(boxes: np.ndarray, least: float, sides: Sides) -> np.ndarray:
    return boxes[np.asarray(large_enough(boxes, least, sides))]


def _kept(given: Mapping[str, np.ndarray], case: str, threshold: float) -> np.ndarray:
    boxes, scores = given[f"{case}_boxes"], given[f"{case}_scores"]
    kept = np.flatnonzero(suppress(boxes, scores, np.ones(len(boxes), bool), threshold))
    return kept[np.argsort(-scores[kept], kind="stable")]


def _pooled(given: Mapping[str, np.ndarray], way: str, bins: int) -> np.ndarray:
    pool = {"pool": pool_regions, "align": align_regions}[way]
    maps = given["roi_features"].transpose(0, 2, 3, 1)
    extent = jnp.array(maps.shape[1:3])
    cut = [
        pool(maps[int(roi[0])], roi[None, 1:], extent, bins, 1 / STRIDE) for roi in given["rois"]
    ]
    return np.concatenate(cut).transpose(0, 3, 1, 2)
