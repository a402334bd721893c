"""Builds frozen dataclasses from nested mappings; every error names the full path and the cure."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

from vlp_jax.config.ranges import OutOfRange, Range
from vlp_jax.config.registry import Registry, nearest

# Fields that Linen adds to every module; they are not configuration.
_LINEN_FIELDS = {"parent", "name"}

_HUGE = 10**300  # a whole number that no float holds


def build(cls: type, values: Any, path: str) -> Any:
    """Returns `cls(**values)` with nested dataclasses built and every value's type checked.

    Numbers widen (int to float), whole floats such as 1e3 become int, lists become tuples. Raises
    ValueError with the dotted path, what was given and what is allowed.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{path} = {values!r}: expected a group of fields {_names(cls)}")
    return cls(**checked_fields(cls, values, path))


def checked_fields(cls: type, values: Mapping, path: str) -> dict[str, Any]:
    """Returns `values` coerced to the field types of dataclass `cls`; unknown names are errors."""
    hints = field_types(cls)
    for key in values:
        if key not in hints:
            raise ValueError(
                f"{path}.{key}: no such field.{nearest(key, hints)} Allowed: {', '.join(hints)}"
            )
    return {k: coerce(v, hints[k], f"{path}.{k}") for k, v in values.items()}


def coerce(value: Any, hint: Any, path: str) -> Any:
    """Returns `value` as the type `hint`, or raises a ValueError that says what is allowed."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _coerce_annotated(value, args, path)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, args, path, hint)
    if origin is typing.Literal:
        return _coerce_literal(value, args, path)
    if origin is tuple:
        return _coerce_tuple(value, args, path, hint)
    if origin in (dict, Mapping) or hint is dict:
        return _coerce_dict(value, args, path)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, path)
    return _coerce_scalar(value, hint, path)


def to_plain(value: Any) -> Any:
    """Returns dataclasses and tuples as dictionaries and lists, ready for JSON."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(v) for v in value]
    return value


def field_types(cls: type) -> dict[str, Any]:
    """Returns name → type of the fields that are configuration: not those with a leading "_"."""
    hints = typing.get_type_hints(cls, include_extras=True)
    own = [f.name for f in dataclasses.fields(cls) if f.init and not f.name.startswith("_")]
    fields = {name: hints[name] for name in own}
    if _LINEN_FIELDS <= fields.keys():
        return {name: hint for name, hint in fields.items() if name not in _LINEN_FIELDS}
    return fields


def _names(cls: type) -> str:
    return "{" + ", ".join(field_types(cls)) + "}"


def _coerce_annotated(value: Any, args: tuple, path: str) -> Any:
    """Checks ranges, see `config.ranges`, and names of registries."""
    coerced = coerce(value, args[0], path)
    for extra in args[1:]:
        if isinstance(extra, Range):
            extra.check(coerced, path)
        if isinstance(extra, Registry):
            extra.get_known(coerced, path)
    return coerced


def _coerce_union(value: Any, args: tuple, path: str, hint: Any) -> Any:
    if type(None) in args and (value is None or value == "none"):
        return None
    for choice in args:
        try:
            return coerce(value, choice, path)
        except OutOfRange:
            raise
        except ValueError:
            continue
    raise ValueError(
        f"{path} = {value!r:.80} ({type(value).__name__}): expected {_type_name(hint)}"
    )


def _coerce_literal(value: Any, allowed: tuple, path: str) -> Any:
    if not any(value == a and type(value) is type(a) for a in allowed):
        raise ValueError(
            f"{path} = {value!r:.80}.{nearest(value, allowed)} "
            f"Allowed: {', '.join(repr(a) for a in allowed)}"
        )
    return value


def _coerce_tuple(value: Any, args: tuple, path: str, hint: Any) -> tuple:
    if args[1:] == (Ellipsis,) and _is_one_of(value, args[0]):
        value = (value,)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{path} = {value!r:.80}: expected a list of values, {_type_name(hint)}")
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(value)
    if len(args) != len(value):
        raise ValueError(f"{path} = {value!r:.80}: expected {len(args)} values, got {len(value)}")
    return tuple(coerce(v, a, f"{path}[{i}]") for i, (v, a) in enumerate(zip(value, args)))


def _is_one_of(value: Any, hint: Any) -> bool:
    """Says whether a text or a group stands for a list of one."""
    kinds = [typing.get_origin(kind) or kind for kind in (hint, *typing.get_args(hint))]
    return isinstance(value, str) and str in kinds or isinstance(value, Mapping) and dict in kinds


def _coerce_dict(value: Any, args: tuple, path: str) -> dict:
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{path} = {value!r:.80}: expected a group of fields, such as {{name: value}}"
        )
    inner = args[1] if args else Any
    return {str(k): coerce(v, inner, f"{path}.{k}") for k, v in value.items()}


def _coerce_scalar(value: Any, hint: Any, path: str) -> Any:
    if hint is Any:
        return to_builtin(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < _HUGE else math.inf
    if hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)  # 1e3 is a number of steps
    fits = isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool))
    if not fits:
        raise ValueError(
            f"{path} = {value!r:.80} ({type(value).__name__}): expected {_type_name(hint)}"
        )
    return value


def to_builtin(value: Any) -> Any:
    """Returns mappings as plain dictionaries and lists as tuples, at every level."""
    if isinstance(value, Mapping):
        return {str(k): to_builtin(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(to_builtin(v) for v in value)
    return value


def _type_name(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _type_name(args[0])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_type_name, args))
    if hint is type(None):
        return "None"
    if isinstance(origin, type):
        inner = ("..." if arg is ... else _type_name(arg) for arg in args)
        return f"{origin.__name__}[{', '.join(inner)}]"
    return hint.__name__ if isinstance(hint, type) and not args else str(hint)
