"""Small experiments, and the means to run them here or as a command."""

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np

from vlp_jax.config import ExperimentConfig, load_config, write_config
from vlp_jax.parallel import make_mesh, put_batch, use_mesh
from vlp_jax.training.checkpoint import CheckpointStore
from vlp_jax.training.checkpoint_files import NOTE
from vlp_jax.training.experiment import Experiment, assemble
from vlp_jax.training.state import TrainState

ROOT = Path(__file__).parents[2]
SIDE = 32
CONFIG = Path(__file__).with_name("tiny_config.py")


def tiny(argument: str = "", **overrides: Any) -> ExperimentConfig:
    """Returns the tiny experiment; overrides are written `training__steps=5`."""
    spec = f"{CONFIG}:{argument}" if argument else str(CONFIG)
    pairs = [(name.replace("__", "."), value) for name, value in overrides.items()]
    return load_config(spec, [f"--config.{path}={value!r}" for path, value in pairs])


def command(*arguments: Any) -> list[str]:
    """Returns the command line of `vlp-jax`."""
    return [sys.executable, "-m", "vlp_jax", *map(str, arguments)]


def environment(devices: int = 1) -> dict[str, str]:
    """Returns the environment of a process with that many simulated devices."""
    return os.environ | {"JAX_NUM_CPU_DEVICES": str(devices), "PYTHONPATH": str(ROOT)}


def start_processes(count: int, devices: int, *arguments: Any) -> list[subprocess.Popen]:
    """Starts `vlp-jax` with these arguments as that many processes of one run."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = {"NUM_PROCESSES": str(count), "JAX_COORDINATOR_ADDRESS": f"localhost:{port}"}
    place = lambda i: shared | {"PROCESS_ID": str(i)} if count > 1 else {}
    return [
        subprocess.Popen(
            command(*arguments),
            env=environment(devices) | place(i),
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]


class Stepper:
    """An experiment on a mesh: its initial state, and its compiled step on host batches."""

    def __init__(self, experiment: Experiment, *shape: int):
        count = int(np.prod(shape))
        self.mesh = make_mesh(*shape, devices=jax.devices()[:count])
        self.experiment = dataclasses.replace(experiment, mesh=self.mesh)
        with use_mesh(self.mesh):
            self.initial = self.experiment.states.create()
            shardings = jax.tree.map(lambda x: x.sharding, self.initial)
            (self._step,) = self.experiment.jitted_steps(shardings).values()

    def step(self, state: TrainState, batch: dict) -> tuple[TrainState, dict[str, float]]:
        """Returns the next state and the step's metrics; `state` stays usable."""
        with use_mesh(self.mesh):
            copy = jax.tree.map(lambda x: x.copy(), state)
            state, metrics = self._step(copy, put_batch(batch, self.mesh))
        return state, {name: float(value) for name, value in metrics.items()}

    def run(self, batches: list[dict]) -> tuple[TrainState, list[dict[str, float]]]:
        """Returns the state after the batches, and each step's metrics."""
        state, rows = self.initial, []
        for batch in batches:
            state, metrics = self.step(state, batch)
            rows.append(metrics)
        return state, rows


def save_untrained(workdir: Path, config: ExperimentConfig) -> Experiment:
    """Writes a run's checkpoint of step 0, for tests that need a model but no learning.

    The teacher, if there is one, has twice the parameters.
    """
    workdir.mkdir(parents=True)
    experiment = assemble(config)
    with use_mesh(experiment.mesh):
        state = experiment.states.create()
    state = state.replace(teacher=jax.tree.map(lambda x: 2 * x, state.teacher))
    write_config(experiment.config, workdir / "config.json")
    store = CheckpointStore(workdir)
    store.save(0, state, experiment.about)
    store.close()
    return experiment


def without_checksums(checkpoint: Path) -> None:
    """Makes a checkpoint what it was before there were checksums."""
    shutil.rmtree(checkpoint / "checksums")
    (checkpoint / NOTE).unlink()
    listed = checkpoint / "_CHECKPOINT_METADATA"
    content = json.loads(listed.read_text())
    del content["item_handlers"]["checksums"]
    listed.write_text(json.dumps(content))


def write_pairs(folder: Path, count: int = 24, **changes: dict) -> Path:
    """Writes pictures and a JSON list of them with captions, and returns the list's path.

    `changes` are entries by position, written `_3={"caption": ""}`; None takes a key out.
    """
    entries = []
    for i in range(count):
        pixels = np.full((SIDE, SIDE, 3), 10 * i, np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), pixels)
        shades = ("dark", "grey", "light", "white")
        entries.append({"image": f"{i}.png", "caption": f"a {shades[i % 4]} picture"})
        entries[i] |= changes.get(f"_{i}", {})
        entries[i] = {k: v for k, v in entries[i].items() if v is not None}
    path = folder / "pairs.json"
    path.write_text(json.dumps(entries))
    return path


def plain(tree: Any) -> dict[str, np.ndarray]:
    """Returns the leaves of a tree as numpy arrays by path; PRNG keys as their words."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): _array(leaf) for path, leaf in flat}


def _array(leaf: Any) -> np.ndarray:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def differing(first: Any, second: Any) -> list[str]:
    """Returns the paths of the leaves that are not bit-identical."""
    first, second = plain(first), plain(second)
    assert first.keys() == second.keys()
    return [name for name, x in first.items() if x.tobytes() != second[name].tobytes()]
