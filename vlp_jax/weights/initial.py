"""Starts a run from given weights, as `config.init_from` says: of encoders, a model or a run."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding, PartitionSpec

from vlp_jax.config import ExperimentConfig, build, nearest
from vlp_jax.config.patterns import regex
from vlp_jax.data.answer_lists import read_answers
from vlp_jax.data.paths import any_path
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.layers.layer_names import stacked_path
from vlp_jax.model import VisionLanguageModel
from vlp_jax.weights.answer_rows import answer_rows, by_answer
from vlp_jax.weights.conversion import check_values, layers_apart, misshapen, present_name
from vlp_jax.weights.key_table import Entry
from vlp_jax.weights.name_groups import groups
from vlp_jax.weights.sources import ReadRun, Target, Weights, read_weights, spelled_out

_LINES_SHOWN = 12


@dataclass(frozen=True)
class InitialWeights:
    """One entry of `config.init_from`.

    Attributes:
      path: a torch or safetensors file, a Hugging Face directory, or a run's workdir.
      kind: "bert", "vit", "resnet", "run", a published model's name, or "auto".
      include, exclude: regular expressions over the model's parameter paths; one of the first must
        be found in a path that is to be filled, and none of the second.
      rename: pairs of expression and replacement, applied to the paths that the weights would fill.
      ignore: expressions over the file's names, of tensors that the model has no place for; others
        of that kind are an error, because without them the weights mean something else.
      answers: file with the answers of the weights' head in its order; this run's answers get the
        rows of theirs, by their text, and zeros where there is none.
      on_missing: whether a chosen parameter that the file lacks is an error, or stays fresh.
    """

    path: str = ""
    kind: str = "auto"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    rename: tuple[tuple[str, str], ...] = ()
    ignore: tuple[str, ...] = ()
    answers: str = ""
    on_missing: Literal["error", "keep"] = "error"


@dataclass(frozen=True)
class Filling:
    """An entry that has been read and fits: what of which weights goes where."""

    weights: Weights
    entries: tuple[Entry, ...]
    paths: frozenset[str]
    news: str

    def arrays(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields paths, of stacked layers those of each, and values, one tensor at a time."""
        for entry in self.entries:
            tensor = np.asarray(self.weights.state[present_name(entry, self.weights.state)])
            for path, array in zip(entry.ours, entry.to_ours(tensor)):
                if path in self.paths:
                    yield path, array
            self.weights.release()


@dataclass(frozen=True)
class Initialisation:
    """All entries, in order; `news` are lines that say what they fill and what stays fresh."""

    fillings: tuple[Filling, ...]
    news: tuple[str, ...]

    def fill(self, params: Any, teacher: Any = None) -> tuple[Any, Any]:
        """Returns parameters and, where there is one, teacher with the given values in place.

        Every array keeps its sharding; old ones are deleted as new ones come.
        """
        if not self.fillings:
            return params, teacher
        trees = [flatten_dict(tree, sep="/") for tree in (params, teacher) if tree]
        for filling in self.fillings:
            for path, array in filling.arrays():
                where, layer = stacked_path(path) or (path, None)
                for tree in trees:
                    tree[where] = _placed(array, tree[where], layer)
        params, *rest = (unflatten_dict(tree, sep="/") for tree in trees)
        return params, rest[0] if rest else None


def read_initial_weights(
    config: ExperimentConfig,
    model: VisionLanguageModel,
    params: Any,
    vocabulary: Vocabulary,
    read_run: ReadRun,
) -> Initialisation:
    """Reads and checks all of `config.init_from`, before any parameter is drawn.

    `params` are the model's, as shapes; `read_run` reads a workdir's newest checkpoint.
    Raises ValueError and FileNotFoundError that name the entry, what does not fit, and the cure.
    """
    if not config.init_from:
        return Initialisation((), ())
    shapes = layers_apart(params)
    target = Target(spelled_out(config.model, model), shapes, vocabulary)
    fillings = []
    for i, settings in enumerate(initial_weights(config.init_from)):
        where = f"config.init_from[{i}]"
        try:
            fillings.append(_read(settings, target, read_run))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{where}: {error}") from None
        except ValueError as error:
            raise ValueError(f'{where} ("{settings.path}"): {error}') from error
    news = [f"init_from[{i}]: {filling.news}" for i, filling in enumerate(fillings)]
    fresh = shapes.keys() - frozenset.union(*(filling.paths for filling in fillings))
    news.append(f"init_from: freshly drawn are {', '.join(groups(fresh, shapes)) or 'none'}")
    return Initialisation(tuple(fillings), tuple(news))


def initial_weights(init_from: Sequence[Mapping[str, Any] | str]) -> list[InitialWeights]:
    """Returns the entries; ValueError for wrong fields, patterns and paths.

    No file is read.
    """
    entries = []
    for i, values in enumerate(init_from):
        where = f"config.init_from[{i}]"
        values = {"path": values} if isinstance(values, str) else values
        entries.append(build(InitialWeights, values, where))
        if not entries[-1].path:
            raise ValueError(f"{where}.path is missing: a weight file, a directory or a workdir")
        any_path(entries[-1].path, f"{where}.path")
    return entries


def _read(settings: InitialWeights, target: Target, read_run: ReadRun) -> Filling:
    chosen = _chosen(settings, target.shapes)
    weights = read_weights(settings.path, settings.kind, target, read_run)
    renamed, found = _renamed(weights.entries, settings.rename), ""
    if settings.answers:
        renamed, found = _by_answer(renamed, settings.answers, target.vocabulary.answers)
    entries = [e for e in renamed if chosen.intersection(e.ours)]
    wanted = chosen if weights.whole else chosen & _paths(entries)
    entries = [e for e in entries if present_name(e, weights.state) is not None]
    filled = frozenset(chosen & _paths(entries))
    _check_unknown(settings, weights)
    _check_shapes(entries, weights, target)
    check_values(entries, weights.state)
    _check_missing(settings, wanted - filled, wanted)
    if not filled:
        raise ValueError(
            f"{weights.kind} weights fill none of the chosen parameters; theirs are "
            f"{', '.join(groups(_paths(renamed), ())) or 'none that this model has'}"
        )
    _check_vocabulary(filled, weights, target.vocabulary)
    news = _news(settings, weights, entries, filled, target) + found
    return Filling(weights, tuple(entries), filled, news)


def _chosen(settings: InitialWeights, shapes: Mapping[str, Any]) -> set[str]:
    """Returns the model's paths that `include` and `exclude` leave to be filled."""
    found = {
        pattern: {path for path in shapes if regex(pattern).search(path)}
        for pattern in (*settings.include, *settings.exclude)
    }
    for pattern, paths in found.items():
        if not paths:
            raise ValueError(
                f'"{pattern}" matches no parameter of the model.{nearest(pattern, shapes)} '
                f"It has {', '.join(groups(shapes, ()))}"
            )
    chosen = set(shapes) if not settings.include else set()
    chosen = chosen.union(*(found[pattern] for pattern in settings.include))
    return chosen.difference(*(found[pattern] for pattern in settings.exclude))


def _renamed(entries: Iterable[Entry], rules: Iterable[tuple[str, str]]) -> list[Entry]:
    entries = list(entries)
    for pattern, replacement in rules:
        rule = regex(pattern)
        if not any(rule.search(path) for path in _paths(entries)):
            raise ValueError(
                f'rename "{pattern}" matches no parameter that these weights would fill: '
                f"{', '.join(groups(_paths(entries), ()))}"
            )
        try:
            new = lambda entry: tuple(rule.sub(replacement, path) for path in entry.ours)
            entries = [replace(entry, ours=new(entry)) for entry in entries]
        except (re.error, IndexError) as error:
            raise ValueError(f'rename to "{replacement}": {error}') from None
    counts = Counter(path for entry in entries for path in entry.ours)
    twice = {path for path, count in counts.items() if count > 1}
    if twice:
        raise ValueError(f"rename gives several tensors to {', '.join(groups(twice, counts))}")
    return entries


def _by_answer(entries: list[Entry], file: str, ours: Sequence[str]) -> tuple[list[Entry], str]:
    """Returns entries with the rows of this run's answers, and how many of these are known."""
    theirs = read_answers(file)
    if not ours:
        raise ValueError(f'answers = "{file}": the data of this run have no answers')
    rows = answer_rows(theirs, ours)
    known = f"; {(rows >= 0).sum():,} of {len(rows):,} answers are known"
    return by_answer(entries, rows, len(theirs)), known


def _check_shapes(entries: list[Entry], weights: Weights, target: Target) -> None:
    lines = list(misshapen(entries, weights.state, target.shapes))
    if not lines:
        return
    if any("vocab_size" in line for line in lines):
        lines.append("config.data.vocabulary must be the one that the weights were trained with")
    raise ValueError(
        "some tensors do not fit the model; `exclude` leaves parameters fresh:\n  "
        + "\n  ".join(lines[-_LINES_SHOWN:])
    )


def _check_unknown(settings: InitialWeights, weights: Weights) -> None:
    """Whatever else the file's model computes with is not dropped without a word."""
    ignored = [regex(pattern) for pattern in settings.ignore]
    for rule in ignored:
        if not any(rule.search(name) for name in weights.state):
            raise ValueError(f'ignore "{rule.pattern}" matches no tensor of the file')
    left = [n for n in weights.unknown if not any(rule.search(n) for rule in ignored)]
    if left:
        raise ValueError(
            f"holds what {weights.kind} weights do not have: "
            f"{', '.join(groups(left, weights.state))}. The rest means something else without "
            "them; name them in `ignore` if it is meant so"
        )


def _check_missing(settings: InitialWeights, missing: set[str], wanted: set[str]) -> None:
    if missing and settings.on_missing == "error":
        raise ValueError(
            f"lacks {len(missing)} of the {len(wanted)} parameters that it should fill: "
            f"{', '.join(groups(missing, wanted))}. Name them in `exclude`, or set on_missing = "
            '"keep" to start them fresh'
        )


def _check_vocabulary(filled: frozenset[str], weights: Weights, ours: Vocabulary) -> None:
    """Tables of a run mean nothing under other words or other answers."""
    theirs = weights.vocabulary
    if theirs is None:
        return
    if "text/word/table" in filled and theirs.tokenizer.to_json() != ours.tokenizer.to_json():
        raise ValueError(
            "the run has another vocabulary: set config.data.vocabulary to the same, or exclude "
            '"text/word" and "heads_mlm"'
        )
    if any(p.startswith("heads_vqa/output") for p in filled) and theirs.answers != ours.answers:
        raise ValueError('the run has other answers: exclude "heads_vqa"')


def _news(
    settings: InitialWeights,
    weights: Weights,
    entries: list[Entry],
    filled: frozenset[str],
    target: Target,
) -> str:
    size = lambda paths: sum(int(np.prod(target.shapes[path].shape)) for path in paths)
    used = {name for entry in entries for name in entry.published}
    unused = groups(set(weights.state) - used, weights.state)
    return (
        f"{size(filled):,} of {size(target.shapes):,} parameters from {weights.kind} weights "
        f'"{settings.path}"; unused of the file: {", ".join(unused) or "none"}'
    )


def _placed(array: np.ndarray, old: jax.Array, layer: int | None) -> jax.Array:
    """Returns `old`, used up, with the array in its place or, with a `layer`, in that slice."""
    if layer is None:
        shape, dtype, sharding = old.shape, old.dtype, old.sharding
        old.delete()
        return _sharded(array, shape, dtype, sharding)
    new = _sharded(array, old.shape[1:], old.dtype, _slice_sharding(old.sharding))
    return _with_layer(old, new, layer)


def _sharded(array: np.ndarray, shape: tuple, dtype: Any, sharding: Any) -> jax.Array:
    """Returns the array on its devices, each of which gets its shard alone."""
    # A copy, because a CPU device may take an array as it is, and a step overwrites its input.
    return jax.make_array_from_callback(shape, sharding, lambda i: np.array(array[i], dtype))


def _slice_sharding(sharding: Any) -> Any:
    """Returns how one layer of a stacked array lies on the devices."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec(*tuple(sharding.spec)[1:]))
    return sharding


@partial(jax.jit, donate_argnums=0)
def _with_layer(stack: jax.Array, array: jax.Array, layer: int) -> jax.Array:
    return stack.at[layer].set(array)


def _paths(entries: Iterable[Entry]) -> set[str]:
    return {path for entry in entries for path in entry.ours}
