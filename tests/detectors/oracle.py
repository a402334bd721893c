"""The pieces of a detector in plain NumPy, one box and one cell after the other."""

import math
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).parents[2] / ".." / "shared" / "goldens"


def unit_arrays(bundle: str) -> tuple[dict, dict]:
    """Returns inputs and outputs of a bundle's separate small cases, without "unit/"."""
    files = [np.load(GOLDENS / bundle / f"{name}.npz") for name in ("inputs", "outputs")]
    return tuple(
        {name[5:]: file[name] for name in file.files if name.startswith("unit/")} for file in files
    )


def random_boxes(rng: np.random.Generator, count: int, height: int, width: int) -> np.ndarray:
    """Boxes of all sizes within a picture, some empty, some on its border, in float32."""
    ends = rng.uniform(-0.2, 1.2, (count, 2, 2)) * [width, height]
    ends = np.clip(np.sort(ends, axis=1), 0, [width, height])
    return ends.reshape(count, 4).astype(np.float32)


def overlap(first, second, pixel: float = 0.0) -> float:
    """Intersection over union of two boxes; 0 for two empty ones."""
    sides = [min(first[i + 2], second[i + 2]) - max(first[i], second[i]) + pixel for i in (0, 1)]
    shared = max(sides[0], 0.0) * max(sides[1], 0.0)
    areas = [(b[2] - b[0] + pixel) * (b[3] - b[1] + pixel) for b in (first, second)]
    union = sum(areas) - shared
    return shared / union if union else 0.0


def suppress(boxes, scores, mask, threshold, pixel=0.0) -> np.ndarray:
    """Which boxes stay, in the order of their scores."""
    stays: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if mask[i] and all(overlap(boxes[i], boxes[j], pixel) <= threshold for j in stays):
            stays.append(i)
    return np.isin(np.arange(len(boxes)), stays)


def pool_region(grid: np.ndarray, box, bins: int, scale: float) -> np.ndarray:
    """Maximum of each part of one box; sizes are divided in float32 as the C code does."""
    height, width, channels = grid.shape
    away = lambda x: int(math.copysign(math.floor(abs(x) + 0.5), x))
    ends = [away(float(np.float32(x) * np.float32(scale))) for x in box]
    pooled = np.zeros((bins, bins, channels), np.float32)
    edges = []
    for first, last, length in ((ends[1], ends[3], height), (ends[0], ends[2], width)):
        part = np.float32(max(last - first + 1, 1)) / np.float32(bins)
        edge = lambda x, first=first, length=length: min(max(int(x) + first, 0), length)
        edges.append(
            [
                (edge(np.floor(np.float32(p) * part)), edge(np.ceil(np.float32(p + 1) * part)))
                for p in range(bins)
            ]
        )
    for p, (top, bottom) in enumerate(edges[0]):
        for q, (left, right) in enumerate(edges[1]):
            if bottom > top and right > left:
                pooled[p, q] = grid[top:bottom, left:right].max(axis=(0, 1))
    return pooled


def align_region(grid: np.ndarray, box, bins: int, scale: float) -> np.ndarray:
    """Mean of the samples of each part of one box."""
    x1, y1, x2, y2 = np.float32(box) * np.float32(scale)
    parts = [np.float32(max(side, 1)) / np.float32(bins) for side in (y2 - y1, x2 - x1)]
    counts = [math.ceil(part) for part in parts]
    pooled = np.zeros((bins, bins, grid.shape[2]))
    for p in range(bins):
        for q in range(bins):
            for i in range(counts[0]):
                for j in range(counts[1]):
                    y = y1 + (p + (i + 0.5) / counts[0]) * parts[0]
                    x = x1 + (q + (j + 0.5) / counts[1]) * parts[1]
                    pooled[p, q] += _between(grid, y, x)
    return pooled / (counts[0] * counts[1])


def _between(grid: np.ndarray, y: float, x: float) -> np.ndarray:
    height, width, _ = grid.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(grid.shape[2])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    upper = grid[top, left] * (1 - (x - left)) + grid[top, right] * (x - left)
    lower = grid[bottom, left] * (1 - (x - left)) + grid[bottom, right] * (x - left)
    return upper * (1 - (y - top)) + lower * (y - top)
