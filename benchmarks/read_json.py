"""Measures how long the source "json" takes to read a list of made-up entries, and how much memory.

PYTHONPATH=. python benchmarks/read_json.py --entries 5000000
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from vlp_jax.data.sources.json_pairs import JsonPairs

_WORDS = "a the man woman dog cat red blue sits stands near on table street two people".split()
_FOLDER = "/export/share/datasets/vision/coco/images/train2014"


def write_list(file: Path, entries: int) -> None:
    """Writes an ALBEF-style list of five captions an image."""
    words = np.random.default_rng(0).choice(_WORDS, (1000, 10))
    captions = [" ".join(row) for row in words]
    with file.open("w") as stream:
        for k in range(entries):
            entry = {
                "image": f"{_FOLDER}/COCO_train2014_{k // 5:012d}.jpg",
                "caption": captions[k % len(captions)],
                "image_id": f"coco_{k // 5}",
            }
            stream.write(("[" if not k else ", ") + json.dumps(entry))
        stream.write("]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "list.json"
        write_list(file, args.entries)
        started, clock = time.process_time(), time.perf_counter()
        source = JsonPairs(path=str(file))
        seconds, clock = time.process_time() - started, time.perf_counter() - clock
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{file.stat().st_size / 1e6:,.0f} MB, {len(source):,} records for training")
        print(f"read in {seconds:.1f} s of one core ({clock:.1f} s by the clock)")
        print(f"peak memory of the process {peak:.2f} GB")
        started = time.perf_counter()
        for index in np.random.default_rng(1).integers(len(source), size=10_000).tolist():
            source[index]
        print(f"{10_000 / (time.perf_counter() - started):,.0f} records a second, at random")


if __name__ == "__main__":
    main()
