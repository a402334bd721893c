"""Measures how long a state takes to be saved, as after SIGTERM: until it is whole on the disk.

    PYTHONPATH=. python benchmarks/save_state.py --gigabytes 1 --folder /tmp

prints one line of JSON: seconds on the clock, of the processors, and those the training waits.
"""

import argparse
import json
import tempfile
import time


def main() -> None:
    """Reads the options and prints the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", default=None, help="on the disk to measure")
    parser.add_argument("--arrays", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(json.dumps(_measure(folder, options.gigabytes, options.arrays)))


def _measure(folder: str, gigabytes: float, arrays: int) -> dict[str, float]:
    import jax

    from vlp_jax.training.checkpoint import CheckpointStore

    length = int(gigabytes * 1e9 / 4 / arrays)
    draw = jax.jit(lambda key: jax.random.normal(key, (length,)))
    state = {str(i): draw(jax.random.key(i)) for i in range(arrays)}
    store = CheckpointStore(folder)
    jax.block_until_ready(state)
    wall, processors = time.perf_counter(), time.process_time()
    store.save(1, state, {})
    waited = time.perf_counter() - wall
    store.wait()
    measured = {
        "gigabytes": gigabytes,
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processors,
        "seconds_waited": waited,
    }
    return {name: round(value, 2) for name, value in measured.items()}


if __name__ == "__main__":
    main()
