"""What published recipes share: the model of a preset, arguments, and a cut down to seconds."""

from collections.abc import Mapping
from typing import Any

from vlp_jax.config import nearest, to_plain
from vlp_jax.weights.zoo import ZOO

# Sizes of model parts, by the name of their argument.
_SIZES = {
    "width": 32,
    "heads": 2,
    "mlp_width": 64,
    "layers": 1,
    "connection_heads": 2,
    "image_heads": 2,
    "image_mlp_width": 64,
    "image_layers": (1,),
    "text_layers": (1,),
    "hidden": 32,
}

# Arguments that follow from the data.
_FROM_DATA = ("vocab_size", "feature_width", "image_size", "objects", "attributes", "features")

_BATCH, _SIDE, _REGIONS, _REGION_PIXELS = 8, 32, 4, 4


def published(preset: str) -> dict[str, Any]:
    """Returns the fields of `config.model` of a published model, see `vlp-jax models`."""
    return to_plain(ZOO.get_known(preset).config)


# The originals train on all pairs; of each source a thousandth is kept here to measure on.
HOLDOUT = dict(holdout=0.001)


HELD_OUT = dict(split="validation")

# Ranking by the matching head alone, in which every text meets every image.
RANKED = dict(rank_by="matching", split="validation", limit=128)


def check_argument(argument: str, *variants: str) -> None:
    """Raises ValueError unless the argument of a config is empty, "smoke" or one of `variants`."""
    known = (*variants, "smoke")
    if argument not in ("", *known):
        raise ValueError(
            f'unknown argument "{argument}" of this config.{nearest(argument, known)} '
            f"Known: {', '.join(known)}"
        )


def smoke(config: dict[str, Any], form: str | Mapping[str, str] = "") -> dict[str, Any]:
    """Returns the experiment `config` in a small size, on a few emoji scenes.

    `form` makes them examples of a published task, see source "emoji_tasks"; of several sources
    that stay apart, each of its own.
    What stays is what makes the recipe: parts, conventions, tasks with their masking and pairing,
    task sampling, optimizer groups. What goes is size and what is given from outside: data,
    weights, vocabulary.
    """
    return config | dict(
        model=_model(config["model"]),
        data=_data(config["data"], config["model"]["vision"] == "regions", form),
        tasks={name: _task(args) for name, args in config["tasks"].items()},
        optimizer=config["optimizer"] | dict(warmup_steps=1, warmup_stair=1),
        training=_training(config["training"], 1 if isinstance(form, str) else len(form)),
        evaluation=dict(batch_size=_BATCH, means=config.get("evaluation", {}).get("means", {})),
        init_from=(),
    )


def _model(model: dict[str, Any]) -> dict[str, Any]:
    parts = ("vision_args", "text_args", "fusion_args", "pooler_args")
    heads = {name: _small(args) for name, args in model["heads"].items()}
    for name in {"vqa", "gqa", "region_classifier"} & heads.keys():
        heads[name].pop("classes", None)
    return model | {part: _small(model[part]) for part in parts} | {"heads": heads}


def _small(args: Mapping[str, Any]) -> dict[str, Any]:
    # A part without layers of its own, such as UNITER's text encoder, still has none.
    kept = {name: value for name, value in args.items() if name not in _FROM_DATA}
    return {name: _SIZES.get(name, value) if value else value for name, value in kept.items()}


def _data(data: dict[str, Any], has_regions: bool, form: str | Mapping[str, str]) -> dict[str, Any]:
    if isinstance(form, str):
        sources = dict([_scenes(form)])
    else:
        kinds = {name: _scenes(one) for name, one in form.items()}
        sources = {name: args | {"kind": kind} for name, (kind, args) in kinds.items()}
    own = {name: _small_batch(args) for name, args in data.get("per_source", {}).items()}
    return data | {
        "source": "::".join(sources),
        "source_args": sources,
        "per_source": own,
        "path": None,
        "weights": {},
        "vocabulary": "fit",
        "batch_size": _BATCH,
        "image_size": _SIDE,
        "regions": _REGIONS,
        "region_pixels": _REGION_PIXELS if has_regions else 0,
        "threads": 1,
    }


def _scenes(form: str) -> tuple[str, dict[str, Any]]:
    """Returns the source that makes up examples of a form, and its options."""
    scenes = {"concepts": 12, "size": 64, "canvas": _SIDE}
    return ("emoji_tasks", scenes | {"form": form}) if form else ("emoji_scenes", scenes)


def _small_batch(args: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a source has of its own with batches that stay in proportion."""
    sizes = {"batch_size": max(args["batch_size"] // 16, _BATCH)} if "batch_size" in args else {}
    return dict(args) | sizes


def _task(args: Mapping[str, Any]) -> dict[str, Any]:
    small = {"local_batch": _BATCH // 2, "queue_size": 2 * _BATCH}
    evaluate = {
        name: {**settings, "source": "", "split": "test", "limit": 2 * _BATCH}
        for name, settings in args.get("evaluate", {}).items()
    }
    return {name: small.get(name, value) for name, value in args.items()} | {"evaluate": evaluate}


def _training(training: dict[str, Any], sources: int) -> dict[str, Any]:
    """Returns four steps, or two of each source."""
    steps = 4 if sources == 1 else 2 * sources
    half = dict.fromkeys(("log_every", "checkpoint_every"), steps // 2)
    small = {"steps": steps, "evaluate_every": 0} | half
    if training.get("accumulate", 1) > 1:
        small["accumulate"] = 2
    return training | small
