"""Measures how fast WebDataset shards become resized pictures and batches, beside plain Pillow.

Writes synthetic JPEG shards to a temporary folder and prints images per second of one core's time.
Then it streams training batches with ALBEF's augmentation, in threads and in worker processes.
It needs `vlp_jax[simd]`. Run it from the repository:
`PYTHONPATH=. python benchmarks/read_webdataset.py --images 400`;
`--sides 1000 1400` is for pictures of a camera's size.
"""

import argparse
import contextlib
import io
import itertools
import multiprocessing
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import Feed, make_chain
from vlp_jax.data.images import decode, resize
from vlp_jax.data.masking import MaskWords
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.read_ahead import Reading
from vlp_jax.data.simd_resize import simd_resize
from vlp_jax.data.sources import SOURCES, WebDataset
from vlp_jax.data.sources.base import Source
from vlp_jax.data.sources.tar_index import build_index
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary

CAPTION = "a photograph of a brown dog that runs over wet grass towards a red ball"
SHARD = 100  # samples
BATCH = 32
READINGS = {
    "1 thread": Reading(1, 2),
    "2 threads": Reading(2, 2),
    "1 worker": Reading(1, 1, workers=1),
    "2 workers": Reading(1, 1, workers=2),
}
WAYS = {"full": {}, "simd": {"resize": "simd"}, "reduced": {"decode": "reduced"}}


def photograph(rng: np.random.Generator, sides: Sequence[int]) -> np.ndarray:
    """Returns a picture with sides in this range, smooth with some grain, as photographs are."""
    height, width = (int(side) for side in rng.integers(sides[0], sides[1] + 1, 2))
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


def write_shards(folder: Path, images: int, quality: int, sides: Sequence[int]) -> float:
    """Writes shards in the layout of img2dataset and returns the mean size of a JPEG in kB."""
    rng, total = np.random.default_rng(0), 0
    for start in range(0, images, SHARD):
        with tarfile.open(folder / f"{start // SHARD:05d}.tar", "w") as tar:
            for number in range(start, min(start + SHARD, images)):
                options = [cv2.IMWRITE_JPEG_QUALITY, quality]
                jpeg = cv2.imencode(".jpg", photograph(rng, sides), options)[1].tobytes()
                total += len(jpeg)
                for extension, data in (("jpg", jpeg), ("json", b"{}"), ("txt", CAPTION.encode())):
                    info = tarfile.TarInfo(f"{number:09d}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return total / images / 1000


def with_pillow(data: bytes, size: int) -> np.ndarray:
    """Returns what torchvision's pipelines make of an encoded picture."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def rates(jobs: dict[str, Callable[[int], object]], count: int, rounds: int) -> dict[str, float]:
    """Returns calls per second of one core's time, the median of rounds in which all take turns.

    Time that other programs had the core for does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.thread_time()
            for index in range(count):
                job(index)
            found[name].append(count / (time.thread_time() - start))
    return {name: float(np.median(values)) for name, values in found.items()}


def repeated(folder: Path, times: int = 250) -> Source:
    """Returns the samples many times over: few records take Grain 0.07 ms more each to shuffle."""
    parts = {"shards": {"kind": "webdataset", "path": str(folder), "holdout": 0}}
    return SOURCES["joined"](split="train", parts=parts, repeats={"shards": times})


def training(source: Source, reading: Reading, **data: object) -> Pipeline:
    """Returns whole batches: tokens, masks and pixels."""
    vocabulary = Vocabulary(Tokenizer.bert_uncased())
    feed = Feed(DataConfig(**data), source.provides, vocabulary, train=True)
    chain = make_chain(feed, lambda feed: [MaskWords(feed.vocabulary.tokenizer)])
    return Pipeline(source, chain, BATCH, reading=reading)


def batch_rate(source: Source, size: int, batches: int) -> float:
    """Returns images per second of one core's time of whole batches."""
    pipeline = training(source, Reading(), image_size=size)
    pipeline.batch(0)
    start = time.thread_time()
    for step in range(1, batches + 1):
        pipeline.batch(step)
    return BATCH * batches / (time.thread_time() - start)


def stream_rates(pipeline: Pipeline, batches: int) -> tuple[float, float, float]:
    """Returns images per second: by the clock, of all processes' time, of the main one's time."""
    with contextlib.closing(pipeline.iterate()) as stream:
        for _ in itertools.islice(stream, 6):  # processes have started, and buffers are full
            pass
        before = time.perf_counter(), all_seconds(), time.process_time()
        for _ in itertools.islice(stream, batches):
            pass
        after = time.perf_counter(), all_seconds(), time.process_time()
    return tuple(BATCH * batches / (end - start) for start, end in zip(before, after))


def all_seconds() -> float:
    """Returns the processor time of this process and its workers."""
    ticks = 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # in user code and in the system
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def print_streams(source: Source, size: int, batches: int) -> None:
    """Prints a line for each way of making pixels and of reading ahead."""
    print(f"{'ALBEF, images/s':24s} {'by the clock':>14s} {'a core':>8s} {'a core of main':>16s}")
    for (title, ways), (name, reading) in itertools.product(WAYS.items(), READINGS.items()):
        pipeline = training(source, reading, image_size=size, augment="albef", **ways)
        clock, core, main_core = stream_rates(pipeline, batches)
        row = f"{title}, {name}"
        print(f"{row:24s} {clock:14,.0f} {core:8,.0f} {main_core:16,.0f}", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--quality", type=int, default=90, help="of the JPEG files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", type=int, nargs=2, default=(256, 400), help="of pictures, in px")
    parser.add_argument("--batches", type=int, default=24, help="of 32, streamed each way")
    options = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        kilobytes = write_shards(folder, options.images, options.quality, options.sides)
        start = time.thread_time()
        members = sum(len(build_index(shard).offset) for shard in folder.glob("*.tar"))
        indexed = members / (time.thread_time() - start)
        source = WebDataset(path=str(folder), holdout=0)
        jobs = {
            "read": lambda k: source[k],
            "read, decode": lambda k: decode(source[k]["image"]),
            "read, decode, resize": lambda k: resize(decode(source[k]["image"]), options.size),
            "the same with SIMD": lambda k: simd_resize(decode(source[k]["image"]), options.size),
            "the same with Pillow": lambda k: with_pillow(source[k]["image"], options.size),
        }
        found = rates(jobs, options.images, options.rounds)
        found["training batches"] = batch_rate(repeated(folder), options.size, 4 * options.rounds)
        low, high = options.sides
        print(
            f"{options.images} JPEGs of {low}-{high} px, {kilobytes:.0f} kB, to {options.size} px"
        )
        print(f"{'index':24s} {indexed:10,.0f} members/s/core")
        for name, rate in found.items():
            print(f"{name:24s} {rate:10,.0f} images/s/core")
        print_streams(repeated(folder), options.size, options.batches)


if __name__ == "__main__":
    main()
