"""One reader for every checkpoint file or directory: names and arrays in the published layout."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vlp_jax.data.json_text import read_object
from vlp_jax.pickles import read_pickle
from vlp_jax.weights.checkpoint_file import (
    PICKLE,
    SAFETENSORS,
    existing_path,
    map_file,
    recognise,
    release_pages,
)
from vlp_jax.weights.safetensors_file import read_safetensors
from vlp_jax.weights.torch_file import read_torch_bytes
from vlp_jax.weights.torch_unpickler import TORCH_DTYPES

# Under which keys codes keep their weights, the likelier first; averaged ones come last.
WRAPPERS = ("model", "state_dict", "model_state_dict", "module", "params", "net", "network")
WRAPPERS += ("weights", "ema", "model_ema", "ema_state_dict", "state_dict_ema", "ema_model")
_DEEPEST = 4

# What data parallelism and compilation put before all names, or inside of them.
PREFIXES = ("module.", "model.")
_INSIDE = re.compile(r"(?:^|(?<=\.))_(?:orig_mod|(?:fsdp|checkpoint)_wrapped_module)\.")
LAYER_NORM_NAMES = {"gamma": "weight", "beta": "bias"}
DIRECTORY_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".th", ".bin", ".ckpt", ".pkl", ".safetensors")
NUMBERS = frozenset(TORCH_DTYPES.values())


@dataclass(frozen=True)
class Origin:
    """Where a state dict came from and what was taken off on the way.

    Attributes:
        path: the file or directory that was asked for.
        container: "torch zip", "torch legacy", "safetensors" or "pickle" (of the first shard).
        wrappers: keys and prefixes taken off, outermost first, such as ("model", "module.").
        dtypes: stored element type of every array, by name.
        skipped: names inside the state dict whose value is not an array of numbers.
        beside: keys that stood next to the state dict, such as "optimizer" and "epoch".
        config: config.json of a directory, or empty.
        metadata: the text metadata of a safetensors file, or empty.
    """

    path: Path
    container: str
    wrappers: tuple[str, ...] = ()
    dtypes: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


class StateDict(dict[str, np.ndarray]):
    """Arrays by name, read-only and in their stored type, with their `Origin` as `meta`.

    The arrays are views of `files`, the memory-mapped bytes.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], meta: Origin, files: tuple[np.ndarray, ...]
    ):
        super().__init__(arrays)
        self.meta = meta
        self.files = files

    def release_pages(self) -> None:
        """Gives back the memory of what was read so far; the arrays stay usable.

        Called now and then while arrays are converted, it keeps one copy in memory, not two.
        """
        for data in self.files:
            release_pages(data)


@dataclass(frozen=True)
class _Content:
    """What a file or a directory of shards holds, before unwrapping."""

    tree: Mapping[Any, Any]
    container: str
    metadata: dict[str, str]
    files: tuple[np.ndarray, ...]


def read_state_dict(path: str | Path) -> StateDict:
    """Reads a checkpoint: a torch file, safetensors, a pickle of numpy arrays as Detectron2 writes
    it, or a Hugging Face directory.

    The format is recognised by content. Wrappers are taken off: dictionaries (`WRAPPERS`; of
    several the first one listed there), and what DistributedDataParallel, FSDP, torch.compile and
    Lightning put before names (`module.`, `model.`, `_orig_mod.`), nested as it may be; LayerNorm
    `gamma` / `beta` become `weight` / `bias`. Values and element types stay as stored; tied tensors
    stay one array.

    Raises:
        FileNotFoundError: no such path, or a directory without weights.
        ValueError: unknown, damaged or hostile content, or a file without model weights.
    """
    path = existing_path(path)
    config: dict[str, Any] = {}
    if path.is_dir():
        content, config = _read_directory(path)
    else:
        content = _read_file(path)
    tree, wrappers, beside = _unwrap(content.tree)
    arrays = {name: value for name, value in tree.items() if _is_weight(name, value)}
    if not arrays:
        raise ValueError(f"{path} {_describe_empty(content.tree)}")
    skipped = tuple(str(name)[:200] for name in tree if name not in arrays)
    arrays, prefixes, counters = _without_prefixes(arrays, path)
    wrappers, skipped = wrappers + prefixes, skipped + counters
    arrays = _rename_layer_norms(arrays, path)
    dtypes = {name: str(array.dtype) for name, array in arrays.items()}
    meta = Origin(
        path, content.container, wrappers, dtypes, skipped, beside, config, content.metadata
    )
    return StateDict(arrays, meta, content.files)


def _read_file(path: Path) -> _Content:
    data = map_file(path)
    container = recognise(data, path)
    if container == SAFETENSORS:
        arrays, metadata = read_safetensors(data, path)
        return _Content(arrays, container, metadata, (data,))
    read = _read_pickled if container == PICKLE else partial(read_torch_bytes, kind=container)
    return _Content(read(data, path=path), container, {}, (data,))


def _read_pickled(data: np.ndarray, path: Path) -> Mapping[Any, Any]:
    """Returns the mapping in a pickle that torch has not written."""
    try:
        tree = read_pickle(data.tobytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(tree, dict):
        raise ValueError(f"{path} is a pickle without arrays by name; expected a state dict")
    return tree


def _read_directory(path: Path) -> tuple[_Content, dict[str, Any]]:
    """Returns the weights and config.json of a Hugging Face directory."""
    found = next((name for name in DIRECTORY_FILES if (path / name).is_file()), None)
    if found is None:
        others = sorted(p.name for p in path.iterdir() if p.suffix in CHECKPOINT_SUFFIXES)
        hint = f" Give one of its files instead: {', '.join(others[:5])}" if others else ""
        raise FileNotFoundError(f"{path} has none of {', '.join(DIRECTORY_FILES)}.{hint}")
    read = _read_shards if found.endswith(".json") else _read_file
    config = read_object(path / "config.json") if (path / "config.json").is_file() else {}
    return read(path / found), config


def _read_shards(index: Path) -> _Content:
    """Reads the tensors that a Hugging Face index file assigns to several files beside it."""
    weight_map = read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f'{index} has no "weight_map" from tensor names to files')
    shards: dict[str, _Content] = {}
    tree = {}
    for name, file in weight_map.items():
        if not isinstance(file, str) or file != Path(file).name:
            raise ValueError(f"{index}: {str(file)[:80]!r} is not the name of a file beside it")
        if file not in shards:
            shards[file] = _read_file(index.parent / file)
        if name not in shards[file].tree:
            raise ValueError(f'{index}: tensor "{name}" is not in {file}')
        tree[name] = shards[file].tree[name]
    first = next(iter(shards.values()))
    files = tuple(data for shard in shards.values() for data in shard.files)
    return _Content(tree, first.container, first.metadata, files)


def _unwrap(tree: Mapping) -> tuple[Mapping, tuple[str, ...], tuple[str, ...]]:
    """Takes off wrapper dictionaries; returns (state dict, wrappers, keys beside them)."""
    wrappers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    while (key := _find_wrapper(tree, _DEEPEST - len(wrappers))) is not None:
        wrappers += (key,)
        beside += tuple(str(other)[:200] for other in tree if other != key)
        tree = tree[key]
    return tree, wrappers, beside


def _find_wrapper(tree: Mapping, depth: int) -> str | None:
    """Returns the wrapper key under which weights lie, at most `depth` dictionaries down."""
    for key in WRAPPERS if depth > 0 else ():
        below = tree.get(key)
        if isinstance(below, dict) and (
            _has_weights(below) or _find_wrapper(below, depth - 1) is not None
        ):
            return key
    return None


def _has_weights(tree: Mapping) -> bool:
    return any(_is_weight(name, value) for name, value in tree.items())


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, np.ndarray) and value.dtype in NUMBERS


def _describe_empty(tree: Mapping) -> str:
    """Says what a file without model weights holds instead."""
    keys = ", ".join(str(key)[:60] for key in list(tree)[:8]) or "nothing"
    nested = [
        str(key)[:60]
        for key, value in tree.items()
        if isinstance(value, dict) and _has_weights(value)
    ]
    expected = f"expected tensors by name, perhaps under {' or '.join(WRAPPERS[:3])}"
    if "optimizer" in tree or {"state", "param_groups"} <= set(tree):
        return f"holds an optimizer state and no model weights (keys: {keys}); {expected}"
    if nested:
        return f"has tensors only under {', '.join(nested[:5])} (keys: {keys}); {expected}"
    return f"holds no tensors (keys: {keys}); {expected}"


def _without_prefixes(
    arrays: dict[str, np.ndarray], path: Path
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...]]:
    """Returns the arrays under their own names, the prefixes taken off, and what had none.

    The latter are counters, such as `n_averaged` of averaged weights.
    """
    inside = any(_INSIDE.search(name) for name in arrays)
    arrays = _renamed(arrays, lambda name: _INSIDE.sub("", name), path) if inside else arrays
    taken: tuple[str, ...] = ("_orig_mod.",) if inside else ()
    counters: tuple[str, ...] = ()
    while (prefix := _common_prefix(arrays)) is not None:
        counters += tuple(name for name in arrays if not name.startswith(prefix))
        arrays = {n[len(prefix) :]: x for n, x in arrays.items() if n.startswith(prefix)}
        taken += (prefix,)
    return arrays, taken, counters


def _common_prefix(arrays: Mapping[str, np.ndarray]) -> str | None:
    named = [name for name, array in arrays.items() if array.ndim or "." in name]
    shared = lambda prefix: named and all(n.startswith(prefix) and n != prefix for n in named)
    return next(filter(shared, PREFIXES), None)


def _renamed(
    arrays: dict[str, np.ndarray], new_name: Callable[[str], str], path: Path
) -> dict[str, np.ndarray]:
    renamed = {}
    for name, array in arrays.items():
        new = new_name(name)
        if new in renamed or (new != name and new in arrays):
            raise ValueError(f'{path} has both "{name}" and "{new}"')
        renamed[new] = array
    return renamed


def _rename_layer_norms(arrays: dict[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """Gives LayerNorm parameters of TensorFlow origin their present names."""
    return _renamed(arrays, lambda name: next(_present_names(name, arrays), name), path)


def _present_names(name: str, arrays: Mapping[str, Any]) -> Iterator[str]:
    """Yields the new name of a LayerNorm's gamma or beta; a lone layer-scale gamma has none."""
    parent, _, last = name.rpartition(".")
    if last in LAYER_NORM_NAMES:
        both = all(f"{parent}.{old}" in arrays for old in LAYER_NORM_NAMES)
        if both or "norm" in parent.lower():
            yield f"{parent}.{LAYER_NORM_NAMES[last]}"
