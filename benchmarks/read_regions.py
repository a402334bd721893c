"""Measures region features from disk to batches, in images a second, for each format.

  python benchmarks/read_regions.py [--images 1000] [--threads 1 2] [--folder DIR]

Makes a synthetic LXMERT TSV (36 regions of 2,048 numbers, as published) and converts it, then times
random reads. "batches" reads through a store, with all its checks, and stacks 36 regions an image;
"pipeline" is what training does, with captions. Figures are medians of the rounds, by the clock and
by the processor time used, which other programs on the machine hardly change. The files were just
written, so they come from memory: a disk slower than the figure times the size of an image sets the
limit instead.
"""

import argparse
import base64
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import Feed, make_chain
from vlp_jax.data.batch import stack
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.read_ahead import Reading
from vlp_jax.data.regions import open_regions
from vlp_jax.data.regions.convert import convert
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary

REGIONS, WIDTH, BATCH = 36, 2048, 64


def main() -> None:
    """Prints one line for each format, way of reading and number of threads."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments.add_argument("--folder", help="where to make the files; default: a temporary folder")
    args = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for name, kind, features in make_files(Path(folder), args.images):
            size = sum(file.stat().st_size for file in files_of(features)) / args.images / 1e3
            print(f"{name} ({size:.0f} kB an image)")
            for threads in args.threads:
                for way, measure in (("batches", batches), ("pipeline", pipeline)):
                    rate, per_core = measure(Path(folder), kind, features, threads, args.rounds)
                    figures = f"{rate:8,.0f} images/s {per_core:8,.0f} images/s of core"
                    print(f"  {way:9} {threads} thread(s) {figures}", flush=True)


def make_files(folder: Path, images: int) -> list[tuple[str, str, Path]]:
    """Returns (title, store, path) of the same features in each format, and writes the captions."""
    tsv = folder / "features.tsv"
    rng = np.random.default_rng(0)
    with tsv.open("w") as stream:
        stream.writelines(lxmert_line(f"{k}", rng) for k in range(images))
    captions = [{"image": f"{k}", "caption": f"a picture of {k} things"} for k in range(images)]
    (folder / "captions.json").write_text(json.dumps(captions))
    store = open_regions("lxmert_tsv", str(tsv))
    found = [("LXMERT TSV", "lxmert_tsv", tsv)]
    for title, half in (("ArrayRecord, float32", False), ("ArrayRecord, float16", True)):
        converted = folder / f"half_{half}"
        convert(store, converted, half)
        found.append((title, "array_record", converted))
    return found


def files_of(path: Path) -> list[Path]:
    """Returns the file, or the files of a folder."""
    return list(path.iterdir()) if path.is_dir() else [path]


def lxmert_line(key: str, rng: np.random.Generator) -> str:
    """Returns a line of LXMERT's TSV: after the average pooling, all features are positive."""
    features = np.abs(rng.standard_normal((REGIONS, WIDTH), np.float32))
    boxes = np.sort(rng.random((REGIONS, 2, 2)) * 400, axis=1).reshape(REGIONS, 4)
    ids, shares = rng.integers(0, 400, REGIONS), rng.random(REGIONS)
    arrays = ((ids, "<i8"), (shares, "<f4"), (ids, "<i8"), (shares, "<f4"))
    columns = [key, 400, 400, *(encoded(*array) for array in arrays), REGIONS]
    columns += [encoded(boxes, "<f4"), encoded(features, "<f4")]
    return "\t".join(map(str, columns)) + "\n"


def encoded(array: np.ndarray, dtype: str) -> str:
    """Returns an array's bytes as base64 text."""
    return base64.b64encode(array.astype(dtype).tobytes()).decode()


def batches(
    folder: Path, kind: str, features: Path, threads: int, rounds: int
) -> tuple[float, float]:
    """Returns images a second, and a second of one core, through the reader and `stack`."""
    store = open_regions(kind, str(features))
    keys = np.random.default_rng(0).permutation(store.keys())
    groups = [keys[i : i + BATCH] for i in range(0, len(keys) - BATCH + 1, BATCH)]

    def make(group: np.ndarray) -> int:
        read = [store[key] for key in group]
        batch = stack([{"features": r.features, "boxes": r.boxes} for r in read])
        return len(batch["features"])

    with ThreadPoolExecutor(threads) as pool:
        return rates_of(lambda: sum(pool.map(make, groups)), rounds)


def pipeline(
    folder: Path, kind: str, features: Path, threads: int, rounds: int
) -> tuple[float, float]:
    """Returns the same through the source, the transforms and the pipeline."""
    source = SOURCES["regions"](
        path=str(folder / "captions.json"), features=str(features), store=kind
    )
    vocabulary = Vocabulary(Tokenizer.bert_uncased())
    feed = Feed(DataConfig(regions=REGIONS), source.provides, vocabulary, train=True)
    chain = make_chain(feed, lambda feed: ())
    stream = Pipeline(source, chain, BATCH, reading=Reading(threads)).iterate()
    steps = max(1, len(source) // BATCH)
    rates = rates_of(lambda: sum(len(next(stream)["image_id"]) for _ in range(steps)), rounds)
    stream.close()
    return rates


def rates_of(work: Callable[[], int], rounds: int) -> tuple[float, float]:
    """Returns the medians over the rounds, after one that does not count."""
    work()
    rates = []
    for _ in range(rounds):
        started, used = time.perf_counter(), time.process_time()
        images = work()
        elapsed = time.perf_counter() - started, time.process_time() - used
        rates.append([images / seconds for seconds in elapsed])
    return tuple(statistics.median(column) for column in zip(*rates, strict=True))


if __name__ == "__main__":
    main()
