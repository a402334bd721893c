"""What a weight file holds for a model: which tensor is which parameter, by kind of file."""

import dataclasses
import itertools
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vlp_jax.config import ExperimentConfig, ModelConfig, Registry, nearest
from vlp_jax.data.paths import any_path, holds_run
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.fusion import FUSIONS
from vlp_jax.model import VisionLanguageModel
from vlp_jax.weights.conversion import State, layers_apart, present_name
from vlp_jax.weights.hf_bert import (
    MLM_HEAD,
    WORD_TABLE,
    bert_args,
    bert_prefix,
    bert_table,
    check_positions,
)
from vlp_jax.weights.hub import fetched
from vlp_jax.weights.key_table import Entry, KeyTable, raw
from vlp_jax.weights.one_tower_vit import (
    NAMINGS,
    fit_vit,
    resized_positions,
    vit_args,
    vit_table,
)
from vlp_jax.weights.state_dict import StateDict, read_state_dict
from vlp_jax.weights.two_pictures import TWO, for_two_pictures, starts_two
from vlp_jax.weights.zoo import ZOO, find_architecture
from vlp_jax.weights.zoo.resnet import resnet_table

KINDS = Registry("kind of weights")
AUTO, RUN = "auto", "run"
PARTS = ("vision", "text", "fusion", "pooler")

# Tables of which a model may have fewer rows than the file: the first ones mean the same.
CUT_TABLES = ("text/position/table", "text/type/table")

# A fusion's layers of text: its own, the pair that reads two images, those between co-attentions.
_TEXT_LAYER = re.compile(r"fusion/(layer_\d+(/first|/second)?|run_\d+_layer_\d+/text_layer_\d+)")

# Names by whose endings a file is recognised.
MARKS = {
    "bert": (WORD_TABLE,),
    "vit": tuple(sorted({f"{naming.patches}.weight" for naming in NAMINGS})),
    "resnet": ("embedder.embedder.convolution.weight", "layer1.0.bn1.weight"),
}


@dataclass(frozen=True)
class Target:
    """The model that is to be filled.

    Attributes:
      config: with every argument of the parts spelled out.
      shapes: parameters (anything with a shape) by path, layer by layer.
      vocabulary: that of the run.
    """

    config: ModelConfig
    shapes: Mapping[str, Any]
    vocabulary: Vocabulary


@dataclass(frozen=True)
class Weights:
    """What a file holds.

    Attributes:
      kind: "bert", "vit", "resnet", "run" or a published model's name.
      state: the file's names -> arrays, fitted to the sizes of the model where that is harmless.
      entries: which tensor is which parameter; some paths may be missing in the model.
      whole: whether the file is of a whole model, so that every parameter is expected in it.
      unknown: the file's names that neither the model nor the kind accounts for.
      release: gives back the memory of what was read so far.
      vocabulary: that of a run.
    """

    kind: str
    state: State
    entries: tuple[Entry, ...]
    whole: bool = False
    unknown: tuple[str, ...] = ()
    release: Callable[[], None] = lambda: None
    vocabulary: Vocabulary | None = None


def spelled_out(config: ModelConfig, model: VisionLanguageModel) -> ModelConfig:
    """Returns the model's config with every argument of its parts, defaults included."""
    own = lambda module: {
        field.name: getattr(module, field.name)
        for field in dataclasses.fields(module)
        if field.name not in ("parent", "name", "dtype", "scan_layers", "remat")
    }
    return dataclasses.replace(config, **{f"{p}_args": own(getattr(model, p)) for p in PARTS})


ReadRun = Callable[[str | Path], tuple[ExperimentConfig, Vocabulary, Any]]


def read_weights(path: str, kind: str, target: Target, read_run: ReadRun) -> Weights:
    """Returns what the file, directory or workdir `path` holds for the model.

    `read_run` gives config, vocabulary and parameters of a workdir's newest checkpoint.

    Raises FileNotFoundError, and ValueError for unknown kinds and files of another kind.
    """
    if kind not in (AUTO, RUN, *KINDS, *ZOO):
        raise ValueError(
            f'unknown kind "{kind}".{nearest(kind, (AUTO, RUN, *KINDS, *ZOO))} Known: '
            f"{', '.join((AUTO, RUN, *KINDS))}, and published models, which `vlp-jax models` lists"
        )
    path = any_path(fetched(path), "path")
    if kind == RUN or (kind == AUTO and holds_run(path)):
        return run_weights(path, target, read_run)
    file = read_state_dict(path)
    kind = recognise(file) if kind == AUTO else kind
    weights = KINDS[kind](file, target) if kind in KINDS else published_weights(kind, file, target)
    return dataclasses.replace(
        weights,
        state=_cut(weights.state, weights.entries, target.shapes),
        release=file.release_pages,
    )


def recognise(file: StateDict) -> str:
    """Returns the kind of a file: a Hugging Face class, or the one encoder that it holds."""
    named = file.meta.config.get("architectures")
    if named and any(named[0] in model.architectures for model in ZOO.values()):
        return find_architecture(file.meta.config).name
    found = [kind for kind, ends in MARKS.items() if any(name.endswith(ends) for name in file)]
    if len(found) != 1:
        raise ValueError(
            f"cannot tell what these weights are (they look like {' and '.join(found) or 'none'} "
            f"of {', '.join(MARKS)}): set kind to one of these, {RUN}, or the name of a "
            "published model"
        )
    return found[0]


@KINDS.register("bert")
def bert_weights(file: StateDict, target: Target) -> Weights:
    """BERT's embeddings and first layers for the text encoder, the next ones for the fusion.

    A fusion for two images has a layer of each for every layer of BERT (ALBEF's NLVR2).
    """
    config, shapes = target.config, target.shapes
    _check_encoder(config, "text", "bert")
    here = [f"text/layer_{i}" for i in range(config.text_args["layers"])]
    later = _fusion_layers(config, shapes)
    args = config.text_args if here or not later else config.fusion_args
    _check_heads(file, bert_args, args)
    prefix, images = bert_prefix(file), FUSIONS[config.fusion].images
    check_positions(file, prefix)
    count = _count(lambda i: f"{prefix}encoder.layer.{i}.output.dense.weight" in file)
    has_words = f"{MLM_HEAD}.transform.dense.weight" in file
    has_pooler = f"{prefix}pooler.dense.weight" in file
    tables = [
        bert_table(
            file,
            args["heads"],
            here + later[first::images][: max(count - len(here), 0)],
            words_head="heads_mlm" if has_words and "heads_mlm/bias" in shapes else None,
            pooler="pooler/dense" if has_pooler and "pooler/dense/kernel" in shapes else None,
        )
        for first in range(images)
    ]
    entries = {entry.ours: entry for table in tables for entry in table.entries}
    renamed = map(partial(_embedding_norm, shapes), entries.values())
    return Weights("bert", file, tuple(renamed), unknown=_unknown(file, *tables))


@KINDS.register("vit")
def vit_weights(file: StateDict, target: Target) -> Weights:
    """ViT or DeiT for the vision encoder, with positions resized to its grid."""
    args = target.config.vision_args
    _check_encoder(target.config, "vision", "vit")
    _check_heads(file, vit_args, args)
    state = fit_vit(file, args)
    # A stem of convolutions reads other patches than the file's projection does.
    replaced = "vision/patch_embedding/" if args["stem_width"] else None
    table = vit_table(state, args)
    kept = [e for e in table.entries if not replaced or not e.ours[0].startswith(replaced)]
    return Weights("vit", state, tuple(kept), unknown=_unknown(state, table))


@KINDS.register("resnet")
def resnet_weights(file: StateDict, target: Target) -> Weights:
    """ResNet's convolutions and statistics for the vision encoder."""
    _check_encoder(target.config, "vision", "resnet")
    table = resnet_table(target.config.vision_args, file)
    moved = lambda e: dataclasses.replace(e, ours=tuple(f"vision/{path}" for path in e.ours))
    return Weights("resnet", file, tuple(map(moved, table.entries)), unknown=_unknown(file, table))


def published_weights(name: str, file: StateDict, target: Target) -> Weights:
    """A published model's parts, as far as the model has parts of the same kinds."""
    published = ZOO[name]
    config = _in_our_sizes(published.config, target.config)
    state = published.adapt(file, config)
    table, own = published.table(config, state), published.table(published.config, state)
    kept = _of_same_kind(table.entries, published.config, target.config)
    left = _unknown(state, table, own)
    if left:
        heads = _heads(published.family, state, table.names)
        left = tuple(n for n in left if n not in heads)
    return Weights(name, state, kept, whole=True, unknown=left)


def run_weights(path: str | Path, target: Target, read_run: ReadRun) -> Weights:
    """The parameters of a run's newest checkpoint, as far as the model has parts of their kinds."""
    config, vocabulary, params = read_run(path)
    state, theirs = layers_apart(params), config.model
    if theirs.vision == target.config.vision == "vit":
        args = target.config.vision_args
        first = 2 if args["distilled"] else 1
        state["vision/positions"] = resized_positions(state["vision/positions"], first, args)
    entries = _of_same_kind([raw(name, name) for name in state], theirs, target.config)
    return Weights(
        RUN,
        _cut(state, entries, target.shapes),
        entries,
        whole=True,
        vocabulary=vocabulary,
    )


def _fusion_layers(config: ModelConfig, shapes: Mapping[str, Any]) -> list[str]:
    """Returns the fusion's layers that are BERT's, apart from what reads the image."""
    text, fusion = config.text_args, config.fusion_args
    if text["layers"] and text["heads"] != fusion["heads"]:
        return []
    end = "/self_attention/attention/query/kernel"
    with_end = [path.removesuffix(end) for path in shapes if path.endswith(end)]
    own = [path for path in with_end if _TEXT_LAYER.fullmatch(path)]
    numbers = lambda path: [int(number) for number in re.findall(r"\d+", path)]
    return sorted(own, key=lambda path: (numbers(path), path))


def _count(exists: Callable[[int], bool]) -> int:
    return next(i for i in itertools.count() if not exists(i))


def _embedding_norm(shapes: Mapping[str, Any], entry: Entry) -> Entry:
    """VisualBERT normalises text and regions together, in its fusion."""
    if "text/norm/scale" in shapes:
        return entry
    moved = (re.sub("^text/norm/", "fusion/embedding_norm/", path) for path in entry.ours)
    return dataclasses.replace(entry, ours=tuple(moved))


def _check_encoder(config: ModelConfig, part: str, kind: str) -> None:
    has = getattr(config, part)
    if has != kind:
        raise ValueError(f'{kind} weights are for config.model.{part} = "{kind}"; it is "{has}"')


def _check_heads(file: StateDict, read: Callable[[Mapping], dict], args: Mapping[str, Any]) -> None:
    """Another number of heads has the same shapes in a file, and other meaning."""
    if not file.meta.config:
        return
    theirs, ours = read(file.meta.config)["heads"], args["heads"]
    if theirs != ours:
        raise ValueError(f"its config.json says {theirs} attention heads, the model {ours}")


def _in_our_sizes(published: ModelConfig, ours: ModelConfig) -> ModelConfig:
    """Returns the published composition with our arguments for parts of the same kind."""
    doubled = ("fusion",) if starts_two(published, ours) else ()
    same = {
        f"{part}_args": getattr(published, f"{part}_args") | getattr(ours, f"{part}_args")
        for part in PARTS
        if part in doubled or getattr(published, part) == getattr(ours, part)
    }
    heads = {name: args | ours.heads.get(name, {}) for name, args in published.heads.items()}
    return dataclasses.replace(published, heads=heads, **same)


def _of_same_kind(
    entries: Iterable[Entry], theirs: ModelConfig, ours: ModelConfig
) -> tuple[Entry, ...]:
    """Drops entries of parts of another kind, whose paths may have the same names.

    Layers that read one picture fill those that read two.
    """
    if starts_two(theirs, ours):
        entries, theirs = map(for_two_pictures, entries), dataclasses.replace(theirs, fusion=TWO)
    other = [f"{part}/" for part in PARTS if getattr(theirs, part) != getattr(ours, part)]
    return tuple(e for e in entries if not e.ours[0].startswith(tuple(other)))


def _unknown(state: State, *tables: KeyTable) -> tuple[str, ...]:
    known = lambda name: any(name in table.names or table.carries(name) for table in tables)
    return tuple(name for name in state if not known(name))


def _heads(family: str, state: State, known: Collection[str]) -> frozenset[str]:
    """Returns the names of a family's heads, and of what is tied to tensors that are `known`.

    They may be left: nothing that is kept is computed through them.
    """
    tables = [other.table(names=state) for other in ZOO.values() if other.family == family]
    entries = (entry for table in tables for entry in table.entries)
    harmless = lambda e: e.ours[0].startswith("heads_") or any(n in known for n in e.published)
    return frozenset(name for e in entries if harmless(e) for name in e.published)


def _cut(state: State, entries: Iterable[Entry], shapes: Mapping[str, Any]) -> State:
    """Cuts tables to the model's rows, where the file has more."""
    state = dict(state)
    for entry in entries:
        name = present_name(entry, state)
        if name and entry.ours[0] in CUT_TABLES and entry.ours[0] in shapes:
            state[name] = state[name][: shapes[entry.ours[0]].shape[0]]
    return state
