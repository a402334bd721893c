"""What is timed: the zoo's pre-training models in several sizes, or any experiment."""

import dataclasses
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from vlp_jax.cli.measure.bench_data import on_drawn_data
from vlp_jax.cli.measure.unmeasured import unmeasured
from vlp_jax.config import ExperimentConfig, Registry, load_config, replace
from vlp_jax.config.files import with_overrides
from vlp_jax.tasks import TASKS
from vlp_jax.training.experiment import Experiment, assemble

logger = logging.getLogger(__name__)

SIZES = {"base": 1, "small": 2, "tiny": 8}
"""By what widths, heads, layers and the sides of pictures are divided."""

_DIVIDED = {"width", "heads", "mlp_width", "layers", "hidden"}
_DIVIDED |= {"connection_heads", "image_heads", "image_mlp_width"}
_ENTRY_EACH_LAYER = ("image_layers", "text_layers")  # of ViLBERT's connections


Experiments = Callable[[], ExperimentConfig]

MODELS = Registry("model to time")
"""Name → what makes its experiment, at the published size."""


def _published(spec: str, *tasks: str) -> Experiments:
    return lambda: only(load_config(spec), tasks)


MODELS.update(
    albef=_published("albef/pretrain", "itc", "itm", "mlm"),
    # Of the kinds of step that UNITER draws from, the commonest.
    uniter=_published("uniter/pretrain", "mlm"),
    uniter_large=_published("uniter/pretrain:large", "mlm"),
    vilbert=_published("vilbert/pretrain", "mlm", "region_class", "pair"),
    # LXMERT's batches of captions; those of questions answer them besides.
    lxmert=_published("lxmert/pretrain", "mlm", "pair", "region_labels"),
    visualbert=_published("visualbert/pretrain", "mlm", "sentence_image"),
    oscar=_published("oscar/pretrain", "mlm", "contrastive_tags"),
    oscarplus=_published("oscar/pretrain:plus", "mlm", "contrastive_tags"),
)


@MODELS.register("two_towers")
def _two_towers() -> ExperimentConfig:
    """ViT-B/16 at 224 pixels and BERT-base, which learn by contrast alone (CLIP)."""
    config = MODELS["albef"]()
    model = dataclasses.replace(
        config.model,
        vision_args=config.model.vision_args | {"image_size": 224},
        text_args=config.model.text_args | {"layers": 12},
        fusion_args=config.model.fusion_args | {"layers": 0},
        heads={"itc": {"width": 512}},
    )
    return dataclasses.replace(
        config,
        model=model,
        tasks={"itc": {}},
        data=dataclasses.replace(config.data, image_size=224, text_length=64),
        training=dataclasses.replace(config.training, momentum=None, distillation_warmup=0),
    )


def model_to_time(
    name: str, size: str, batch: int, dtype: str, overrides: Sequence[str] = ()
) -> ExperimentConfig:
    """Returns one of `MODELS` at a size of `SIZES`; `overrides` as for `load_config`."""
    config = divided(MODELS.get_known(name)(), SIZES[size])
    training = dataclasses.replace(config.training, accumulate=1, dtype=dtype)
    config = dataclasses.replace(config, training=training)
    config = with_overrides(replace(config, "data.batch_size", batch), overrides)
    return _timed(config)


def experiment_to_time(spec: str, overrides: Sequence[str] = ()) -> Experiment:
    """Returns an experiment as it is; with drawn records where files of its data are not there."""
    config = _timed(load_config(spec, overrides))
    try:
        return assemble(config)
    except FileNotFoundError as error:
        logger.warning("%s: drawn records take the place of the data", error)
        return on_drawn_data(config)


def only(config: ExperimentConfig, names: Collection[str]) -> ExperimentConfig:
    """Returns an experiment with some of its tasks, without the heads that others read."""
    tasks = {name: config.tasks[name] for name in names}
    unread = {_head(name, args) for name, args in config.tasks.items() if name not in tasks}
    unread -= {_head(name, args) for name, args in tasks.items()} | {"itm"}
    heads = {name: args for name, args in config.model.heads.items() if name not in unread}
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, heads=heads),
        tasks=tasks,
        training=dataclasses.replace(config.training, schedule="all", mix={}),
    )


def _head(name: str, args: Mapping[str, Any]) -> str:
    return args.get("head") or getattr(TASKS[args.get("kind", name)], "head", "") or name


def divided(config: ExperimentConfig, by: int) -> ExperimentConfig:
    """Returns an experiment whose model has the `by`-th part of widths, layers and sides."""
    model, data = config.model, config.data
    parts = ("vision_args", "text_args", "fusion_args", "pooler_args")
    side = max(data.image_size // by // 32, 1) * 32  # a whole number of patches
    args = {part: _divided(getattr(model, part), by) for part in parts}
    if "image_size" in args["vision_args"]:
        args["vision_args"]["image_size"] = side
    heads = {name: _divided(given, by) for name, given in model.heads.items()}
    model = dataclasses.replace(model, **args, heads=heads)
    return replace(replace(config, "model", model), "data.image_size", side)


def _divided(args: Mapping[str, Any], by: int) -> dict[str, Any]:
    smaller = {name: max(n // by, 1) for name, n in args.items() if name in _DIVIDED and n}
    if args.get("layers"):
        smaller["layers"] = -(-args["layers"] // by)
        each = {name: args[name] for name in _ENTRY_EACH_LAYER if args.get(name)}
        smaller |= {name: tuple(n[: smaller["layers"]]) for name, n in each.items()}
    return {**args, **smaller}


def _timed(config: ExperimentConfig) -> ExperimentConfig:
    """Returns an experiment of which only steps are made, each of one batch."""
    batch = config.data.batch_size
    config = unmeasured(config)
    return dataclasses.replace(
        config,
        tasks={name: _fitted(args, batch) for name, args in config.tasks.items()},
        training=dataclasses.replace(config.training, accumulate=1),
        init_from=(),
    )


def _fitted(args: Mapping[str, Any] | None, batch: int) -> Mapping[str, Any] | None:
    """Returns a task's settings for a batch that its parts may be larger than; None is off."""
    if not (args and args.get("local_batch")):
        return args
    return {**args, "local_batch": min(args["local_batch"], batch)}
