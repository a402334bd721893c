"""Measures the seconds between SIGTERM and the end of a training that has much to save.

    PYTHONPATH=. python benchmarks/stop_training.py --gigabytes 1 --folder /tmp

prints one line of JSON: the size of the checkpoint that the training has left, and the seconds, on
the clock and of the processors. The steps that were under way are in them. Linux only.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# The quickstart with words alone, whose one layer is made as wide as it takes.
STEPS = ("training.steps=1000000", "training.checkpoint_every=1000000", "training.log_every=1")
TASKS = ("training.momentum=none", *(f"tasks.{name}=none" for name in ("itc", "itm", "vqa")))
LEARNING = ("optimizer.name=adamw", "data.source=emoji_scenes", "data.batch_size=2")
BYTES = 2 * 128 * 3 * 4  # two kernels, as parameters and twice for Adam, for one more column


def main() -> None:
    """Reads the options and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", default=None, help="on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(json.dumps(_measure(Path(folder) / "run", int(options.gigabytes * 1e9 / BYTES))))


def _measure(workdir: Path, width: int) -> dict[str, float]:
    settings = (*STEPS, *TASKS, *LEARNING, f"model.text_args.mlp_width={width}")
    command = [sys.executable, "-m", "vlp_jax", "train", "--config", "quickstart:smoke"]
    overrides = [f"--config.{text}" for text in settings]
    process = subprocess.Popen([*command, "--workdir", workdir, *overrides], stdout=sys.stderr)
    while not _steps(workdir):
        time.sleep(0.1)
        if process.poll() is not None:
            raise SystemExit(f"the training ended with status {process.returncode}")
    return _stopped(process) | {"gigabytes_saved": round(_bytes(workdir / "checkpoints") / 1e9, 3)}


def _stopped(process: subprocess.Popen) -> dict[str, float]:
    wall, processors = time.perf_counter(), _processor_seconds(process.pid)
    process.terminate()
    process.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": used.ru_utime + used.ru_stime - processors,
    }
    return {name: round(value, 1) for name, value in measured.items()}


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _steps(workdir: Path) -> int:
    rows = workdir / "metrics.jsonl"
    return len(rows.read_text().splitlines()) if rows.exists() else 0


if __name__ == "__main__":
    main()
