"""Fits a model to its tasks and data: the heads that tasks read, and the sizes that data give."""

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from vlp_jax.config import ModelConfig
from vlp_jax.data.sizes import Sizes
from vlp_jax.encoders import TEXT_ENCODERS, VISION_ENCODERS
from vlp_jax.heads import HEADS
from vlp_jax.tasks.base import HeadNeed, Task

logger = logging.getLogger(__name__)

Args = Mapping[str, Any]


def fit_model(
    model: ModelConfig, sizes: Sizes, fed: Iterable[Task], unfed: Iterable[Task] = ()
) -> ModelConfig:
    """Returns the model with sizes and heads filled in; a size that misfits is a ValueError.

    `fed` are the tasks that the data can train, `unfed` the others: a head of theirs whose size
    nothing determines is dropped, with a warning.
    """
    vision, text = (
        _fitted(registry.get_known(name, f"config.model.{part}"), args, sizes, part)
        for registry, name, args, part in (
            (VISION_ENCODERS, model.vision, model.vision_args, "vision"),
            (TEXT_ENCODERS, model.text, model.text_args, "text"),
        )
    )
    heads = {name: dict(args) for name, args in model.heads.items()}
    needs = _joined(task.heads(sizes) for task in fed)
    for name, need in needs.items():
        heads[name] = _fitted_head(name, heads.get(name), need)
    for name, need in _joined(task.heads(sizes) for task in unfed).items():
        if name in heads and name not in needs and _lacks_size(name, heads[name], need):
            _switch_off(heads, name)
    for name in [name for name in heads if name not in needs and _is_empty(name, heads[name])]:
        _switch_off(heads, name)
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
        for name, need in each.items():
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


def _switch_off(heads: dict[str, dict], name: str) -> None:
    logger.warning("head %s is off: the data do not say how large it is", name)
    del heads[name]


def _is_empty(name: str, args: Args) -> bool:
    """Says whether a head that no task reads predicts nothing: all of its sizes are 0."""
    cls = HEADS.get_known(args.get("kind", name), f"config.model.heads.{name}")
    default = {field.name: field.default for field in dataclasses.fields(cls)}
    sizes = [args.get(size, default[size]) for size in cls.sized_by.values()]
    return bool(sizes) and not any(sizes)


def _lacks_size(name: str, args: Args, need: HeadNeed) -> bool:
    arguments = [_sized_by(name, args).get(part) for part in need.sizes]
    return any(argument and not args.get(argument) for argument in arguments)


def _sized_by(name: str, args: Args) -> Mapping[str, str]:
    return HEADS.get_known(args.get("kind", name), f"config.model.heads.{name}").sized_by


def _filled(args: Args, name: str, value: int, path: str) -> dict[str, Any]:
    given = args.get(name) or value
    if given != value:
        raise ValueError(
            f"config.{path}.{name} = {given}, but the data has {value}: leave the field out, "
            "or change config.data"
        )
    return {**args, name: value}
