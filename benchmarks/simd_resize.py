"""Measures how near SIMD's resizing is to Pillow's, and what time it takes.

Run it from the repository: `PYTHONPATH=. python benchmarks/simd_resize.py FOLDER_OF_JPEGS`. It
needs `vlp_jax[simd]`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vlp_jax.data.images import crop_window, decode, resize
from vlp_jax.data.simd_resize import simd_resize

DRAWS = 20  # of windows, of each picture


def parts(pictures: list[np.ndarray], name: str) -> list[np.ndarray]:
    """Returns the pictures, or parts of them."""
    if name == "whole":
        return pictures
    rng, found = np.random.default_rng(0), []
    for picture in pictures * DRAWS:
        top, left, height, width = crop_window(*picture.shape[:2], rng, (0.2, 1.0))
        found.append(picture[top : top + height, left : left + width])
    return found


def seconds(job: Callable, images: list[np.ndarray], size: int) -> float:
    """Returns the processor time of this thread for all images."""
    start = time.thread_time()
    for image in images:
        job(image, size)
    return time.thread_time() - start


def line(images: list[np.ndarray], size: int, name: str) -> str:
    """Returns by how much values differ, and both times."""
    pairs = [(simd_resize(image, size).astype(int), resize(image, size)) for image in images]
    apart = np.concatenate([abs(first - second).ravel() for first, second in pairs])
    errors = [np.mean(np.square(first - second)) for first, second in pairs]
    ratios = 10 * np.log10(255**2 / np.maximum(errors, 1e-9))
    times = [seconds(job, images, size) / len(images) * 1e3 for job in (resize, simd_resize)]
    return (
        f"{size} px, {name}: {np.mean(apart > 0):.2%} differ, {np.mean(apart > 1):.4%} by more "
        f"than 1, at most by {apart.max()}, PSNR {min(ratios):.1f} least, "
        f"{np.median(ratios):.1f} median dB; {times[0]:.2f} and {times[1]:.2f} ms"
    )


def main() -> None:
    """Prints a line for each size and kind of part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 256, 384])
    options = parser.parse_args()
    pictures = [decode(path) for path in sorted(options.folder.glob("*.jpg"))]
    for size in options.sizes:
        for name in ("whole", "crop"):
            print(line(parts(pictures, name), size, name), flush=True)


if __name__ == "__main__":
    main()
