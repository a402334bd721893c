"""Fits a model to its tasks and data: the heads that tasks read, and the sizes that data give."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from vlp_jax.config import ModelConfig
from vlp_jax.data.sizes import Sizes
from vlp_jax.encoders import TEXT_ENCODERS, VISION_ENCODERS
from vlp_jax.heads import HEADS, Head
from vlp_jax.tasks.base import HeadNeed, Task

logger = logging.getLogger(__name__)

Args = Mapping[str, Any]


def fit_model(
    model: ModelConfig,
    sizes: Sizes,
    fed: Iterable[Task],
    sizes_of: Callable[[Task], Sizes] | None = None,
) -> ModelConfig:
    """Returns the model with sizes and heads filled in; a size that misfits is a ValueError.

    `fed` are the tasks that the data can train; `sizes_of` gives those that are one's own. A head
    that none of them reads, and whose size nothing determines, is dropped with a warning.
    """
    vision, text = (
        _fitted(registry.get_known(name, f"config.model.{part}"), args, sizes, part)
        for registry, name, args, part in (
            (VISION_ENCODERS, model.vision, model.vision_args, "vision"),
            (TEXT_ENCODERS, model.text, model.text_args, "text"),
        )
    )
    heads = {name: dict(args) for name, args in model.heads.items()}
    needs = _joined(task.heads(sizes_of(task) if sizes_of else sizes) for task in fed)
    for name, need in needs.items():
        heads[name] = _fitted_head(name, heads.get(name), need)
    for name in [name for name in heads if name not in needs and _is_empty(name, heads[name])]:
        logger.warning("head %s is off: no task reads it, and nothing says how large it is", name)
        del heads[name]
    return dataclasses.replace(model, vision_args=vision, text_args=text, heads=heads)


def _fitted(encoder: type, args: Args, sizes: Sizes, part: str) -> dict[str, Any]:
    for argument, size in encoder.from_data.items():
        if value := getattr(sizes, size):
            args = _filled(args, argument, value, f"model.{part}_args")
    return dict(args)


def _joined(needs: Iterable[Mapping[str, HeadNeed]]) -> dict[str, HeadNeed]:
    """Returns one need for each head, with the sizes that any task gives."""
    joined: dict[str, HeadNeed] = {}
    for each in needs:
        if not isinstance(each, Mapping):
            raise ValueError(f"a task's heads are {each!r}: expected name → HeadNeed")
        for name, need in each.items():
            if not isinstance(need, HeadNeed):
                raise ValueError(f'a task\'s head "{name}" is {need!r}: expected a HeadNeed')
            before = joined.get(name, need)
            joined[name] = HeadNeed(before.kind, {**before.sizes, **need.sizes})
    return joined


def _fitted_head(name: str, given: Args | None, need: HeadNeed) -> dict[str, Any]:
    """Returns a head's arguments with its sizes; parts that no task predicts are left out."""
    args = dict({} if name == need.kind else {"kind": need.kind}) if given is None else dict(given)
    for part, argument in _sized_by(name, args).items():
        if size := need.sizes.get(part, 0):
            args = _filled(args, argument, size, f"model.heads.{name}")
        elif need.sizes and part not in need.sizes:
            args.setdefault(argument, 0)
    return args


def _is_empty(name: str, args: Args) -> bool:
    """Whether a head predicts nothing: each size that it has, given or by default, is 0."""
    head, sizes = _kind(name, args), _sized_by(name, args).values()
    default = {field.name: field.default for field in dataclasses.fields(head)}
    return bool(sizes) and not any(args.get(size, default[size]) for size in sizes)


def _sized_by(name: str, args: Args) -> Mapping[str, str]:
    return _kind(name, args).sized_by


def _kind(name: str, args: Args) -> type[Head]:
    return HEADS.get_known(args.get("kind", name), f"config.model.heads.{name}")


def _filled(args: Args, name: str, value: int, path: str) -> dict[str, Any]:
    given = args.get(name) or value
    if given != value:
        raise ValueError(
            f"config.{path}.{name} = {given}, but the data has {value}: leave the field out, "
            "or change config.data"
        )
    return {**args, name: value}
