"""Reads a reference bundle: inputs with the original's outputs, of models, losses or metrics."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.config import nearest
from vlp_jax.data.json_text import read_object
from vlp_jax.verify.metric_files import METRIC_FILES, flatten
from vlp_jax.verify.verb_cases import expected_of_cases
from vlp_jax.weights.state_dict import CHECKPOINT_SUFFIXES, StateDict, read_state_dict

# How the name of a checkpoint begins that the original wrote after training steps.
_LATER = "checkpoint_after_"

# The kind of a bundle without a model: many losses with their inputs.
LOSSES = "objectives/losses"
# The kind of a bundle of official metrics: predictions and truths with the figures.
METRICS = "metrics/official"
# How the kind of a bundle begins that leads from raw texts and pictures to answers.
VERBS = "verbs"
# How the kind of a bundle begins that leads from pictures to regions.
DETECTORS = "detector"


@dataclass(frozen=True)
class Bundle:
    """A folder with `config.json`, a checkpoint, `inputs.npz` and `outputs.npz`.

    A bundle of losses has `index.json`, and a file for each loss whose arrays are named `in/x`,
    `out/y` and `grad/x`; here they are "<loss>/x", "<loss>/y" and "<loss>/grad/x".

    A bundle of official metrics has one JSON file for each task, such as `vqa.json`; `inputs` holds
    their contents, and `expected` the figures "<task>/<figure>".

    A bundle of verbs has `cases.json`: raw texts and pictures with what the original makes of them;
    `inputs` holds it as "cases", and `expected` what `vlp_jax.verify.verb_cases` takes from it.

    Attributes:
      path: the folder.
      config: the published config and, beside it, what the bundle says about itself.
      inputs, expected: arrays by name; the tensors of a checkpoint "checkpoint_after_x", written by
        the original later on, are expected as "after_x/<name>".
      checkpoint: the file in the published layout; losses and metrics have none.
    """

    path: Path
    config: dict[str, Any]
    inputs: dict[str, Any]
    expected: dict[str, np.ndarray]
    checkpoint: Path | None

    @property
    def kind(self) -> str:
        """ "<model>/<task>", such as "albef/pretrain", or "detector/<name>"."""
        if DETECTORS in self.config:
            return f"{DETECTORS}/{self.config[DETECTORS]}"
        return f"{self.field('model')}/{self.field('task')}"

    @property
    def small_scale(self) -> bool:
        """Whether activations are so small that tolerances must follow the size of each array."""
        return "smallscale" in self.path.name or "scale" in self.config.get("conventions", {})

    @cached_property
    def state(self) -> StateDict:
        """The checkpoint's tensors under their published names."""
        return read_state_dict(self.checkpoint)

    def field(self, name: str) -> Any:
        """Returns an entry of config.json; a missing one is a ValueError."""
        if name not in self.config:
            raise ValueError(
                f'{self.path / "config.json"} has no "{name}".{nearest(name, self.config)}'
            )
        return self.config[name]

    def ids(self, name: str) -> Array:
        """Returns an input of integers as int32."""
        return jnp.asarray(self.input(name), jnp.int32)

    def mask(self, name: str) -> Array:
        """Returns an input of zeros and ones as booleans."""
        return jnp.asarray(self.input(name)).astype(bool)

    def input(self, name: str) -> np.ndarray:
        """Returns an input array; a missing one is a ValueError."""
        if name not in self.inputs:
            raise ValueError(
                f'{self.path / "inputs.npz"} has no array "{name}".{nearest(name, self.inputs)} '
                f"It has {', '.join(self.inputs)}"
            )
        return self.inputs[name]

    def number(self, name: str) -> float:
        """Returns an input of one element."""
        return self.input(name).item()

    def tensor(self, name: str) -> np.ndarray:
        """Returns a tensor of the checkpoint that is no parameter, such as a queue."""
        if name not in self.state:
            raise ValueError(f'{self.checkpoint} has no "{name}".{nearest(name, self.state)}')
        return self.state[name]


def read_bundle(path: str | Path) -> Bundle:
    """Reads a bundle folder.

    Raises FileNotFoundError for what is not there and ValueError for what cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is not a folder; a bundle is a folder with config.json")
    if (path / "index.json").is_file():
        return _read_losses(path)
    files = [name for name in METRIC_FILES if (path / f"{name}.json").is_file()]
    if files and not (path / "config.json").is_file():
        return _read_metrics(path, files)
    config = read_object(_existing(path / "config.json"))
    if (path / "cases.json").is_file():
        return _read_verbs(path, config)
    return Bundle(
        path,
        config,
        _read_arrays(path / "inputs.npz"),
        _read_arrays(path / "outputs.npz") | _read_later_states(path),
        _find_checkpoint(path, config.get("checkpoint_file")),
    )


def _read_losses(path: Path) -> Bundle:
    """Reads the files that `index.json` lists; each array of a file becomes one of the bundle."""
    model, task = LOSSES.split("/")
    bundle = Bundle(path, {"model": model, "task": task}, {}, {}, None)
    for name, entry in read_object(_existing(path / "index.json")).items():
        file = entry.get("file") if isinstance(entry, dict) else None
        if not isinstance(file, str):
            raise ValueError(f'{path / "index.json"}: the entry "{name}" names no "file"')
        for key, array in _read_arrays(path / Path(file).name).items():
            part, _, rest = key.partition("/")
            arrays = bundle.inputs if part == "in" else bundle.expected
            arrays[f"{name}/{rest if part in ('in', 'out') else key}"] = array
    return bundle


def _read_verbs(path: Path, config: dict[str, Any]) -> Bundle:
    """Reads cases from raw inputs to answers; their kind is "verbs/<family>/<task>"."""
    cases = read_object(_existing(path / "cases.json"))
    config = config | {"model": f"{VERBS}/{config.get('family')}"}
    try:
        expected = expected_of_cases(cases)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"{path / 'cases.json'} lacks an output: {error!r}") from None
    checkpoint = _find_checkpoint(path, config.get("checkpoint_file"))
    return Bundle(path, config, {"cases": cases}, expected, checkpoint)


def _read_metrics(path: Path, names: list[str]) -> Bundle:
    """Reads the JSON file of each named task, and what the original evaluations made of it."""
    model, task = METRICS.split("/")
    bundle = Bundle(path, {"model": model, "task": task}, {}, {}, None)
    for name in names:
        content = read_object(_existing(path / f"{name}.json"))
        bundle.inputs[name] = content
        try:
            bundle.expected.update(flatten(METRIC_FILES[name](content), name))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(f"{path / name}.json lacks an output: {error!r}") from None
    return bundle


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    _existing(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # what numpy and zipfile raise for damage has no end
        raise ValueError(f"{path} is damaged or not an .npz file: {error}") from None


def _read_later_states(path: Path) -> dict[str, np.ndarray]:
    files = sorted(path.glob(f"{_LATER}*.safetensors"))
    states = {file.stem.removeprefix("checkpoint_"): read_state_dict(file) for file in files}
    return {f"{when}/{name}": x for when, state in states.items() for name, x in state.items()}


def _find_checkpoint(path: Path, named: str | None) -> Path:
    """Returns the file that config.json names, or else the first checkpoint in the folder."""
    if named and (path / Path(named).name).is_file():
        return path / Path(named).name
    files = (p for p in path.iterdir() if p.suffix in CHECKPOINT_SUFFIXES)
    found = sorted(p for p in files if not p.name.startswith(_LATER))
    if not found:
        raise FileNotFoundError(
            f"{path} holds no checkpoint: expected {named or 'a file'} "
            f"with one of the endings {', '.join(CHECKPOINT_SUFFIXES)}"
        )
    return found[0]


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a bundle needs it")
    return path
