"""Says in a text what an experiment is: its resolved fields, parameters and optimizer groups."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax

from vlp_jax.config import ExperimentConfig, load_config, to_plain
from vlp_jax.config.files import flat
from vlp_jax.model import VisionLanguageModel, build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox
from vlp_jax.training.experiment import assemble
from vlp_jax.training.optimizer import Setting, parameter_settings, path_name


def describe(spec: str) -> str:
    """Returns the description of a config file, "FILE.py" or "FILE.py:argument".

    Parameters are shapes only; nothing is computed. Those that differ in a layer's number alone
    share a line.
    """
    config, model = _resolved(spec)
    params = unbox(abstract_params(model))
    count = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    fields = [f"{name} = {value!r}" for name, value in sorted(flat(to_plain(config)).items())]
    head = "path: number × shape, factor of the learning rate, weight decay"
    return "\n".join([*fields, "", f"{count:,} parameters", head, *_groups(config, params), ""])


def _resolved(spec: str) -> tuple[ExperimentConfig, VisionLanguageModel]:
    """Returns config and model; sizes that follow from bundled data are filled in."""
    config = load_config(spec)
    if "vocab_size" in config.model.text_args:
        return config, build_model(config.model, config.training.dtype)
    experiment = assemble(config)
    return experiment.config, experiment.model


def _groups(config: ExperimentConfig, params: Any) -> Iterator[str]:
    shapes, _ = jax.tree_util.tree_flatten_with_path(params)
    settings = jax.tree.leaves(
        parameter_settings(config.optimizer, params), is_leaf=lambda x: isinstance(x, Setting)
    )
    lines = Counter(
        (re.sub(r"_\d+", "_*", path_name(path)), tuple(leaf.shape), setting)
        for (path, leaf), setting in zip(shapes, settings, strict=True)
    )
    for (path, shape, setting), number in lines.items():
        times = f"{number} × " if number > 1 else ""
        yield f"{path}: {times}{list(shape)}, {setting.learning_rate:g}, {setting.weight_decay:g}"
