"""Measures what decoding JPEGs at reduced size changes: pixels (PSNR) and time.

Run it from the repository: `PYTHONPATH=. python benchmarks/reduced_jpeg.py FOLDER_OF_JPEGS`;
`--enlarge 4` shows what small photographs would gain if they were of a camera's size.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from vlp_jax.data.augment import AUGMENTATIONS, augment
from vlp_jax.data.images import decode
from vlp_jax.data.reduced_jpeg import open_picture

DRAWS = 6  # of windows, of each picture


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the peak signal-to-noise ratio in dB, infinite for equal pixels."""
    error = np.mean(np.square(first.astype(float) - second))
    return 10 * np.log10(255**2 / error) if error else np.inf


def enlarged(data: bytes, times: int) -> bytes:
    """Returns a JPEG with sides that are so many times as long, of quality 90."""
    if times == 1:
        return data
    pixels = cv2.cvtColor(decode(data), cv2.COLOR_RGB2BGR)
    pixels = cv2.resize(pixels, None, fx=times, fy=times, interpolation=cv2.INTER_LANCZOS4)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def cut(data: bytes, size: int, name: str, seed: int, reduce: bool) -> tuple[np.ndarray, float]:
    """Returns the augmented picture and the seconds that it took."""
    start, rng = time.thread_time(), np.random.default_rng(seed)
    image, _ = augment(open_picture(data, reduce), None, size, rng, AUGMENTATIONS[name])
    return image, time.thread_time() - start


def line(files: list[bytes], size: int, name: str) -> str:
    """Returns how often pictures were reduced, how near their pixels are, and the share of time."""
    ratios, seconds = [], np.zeros(2)
    for data in files:
        for seed in range(DRAWS):
            full, reduced = (cut(data, size, name, seed, reduce) for reduce in (False, True))
            ratios.append(psnr(full[0], reduced[0]))
            seconds += full[1], reduced[1]
    changed = [ratio for ratio in ratios if np.isfinite(ratio)]
    near = f"{min(changed):.1f} least, {np.median(changed):.1f} median" if changed else "equal"
    share, time_share = len(changed) / len(ratios), seconds[1] / seconds[0]
    return f"{size} px, {name:5s}: {share:4.0%} reduced, {near} dB, time x {time_share:.2f}"


def main() -> None:
    """Prints a line for each size and augmentation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224, 256])
    parser.add_argument("--enlarge", type=int, default=1)
    options = parser.parse_args()
    paths = sorted(options.folder.glob("*.jpg"))
    files = [enlarged(path.read_bytes(), options.enlarge) for path in paths]
    for size in options.sizes:
        for name in ("none", "crop"):
            print(line(files, size, name), flush=True)


if __name__ == "__main__":
    main()
