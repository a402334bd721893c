"""Reads experiment files (`configs/x.py:argument`), applies overrides, writes resolved configs."""

import ast
import contextlib
import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_collections

from vlp_jax.config.build import build, to_plain
from vlp_jax.config.moved import check_moved
from vlp_jax.config.plugins import last_line, reason
from vlp_jax.config.registry import nearest
from vlp_jax.config.schema import ExperimentConfig, replace
from vlp_jax.config.shipped import shipped_configs

PREFIX = "--config."


def load_config(spec: str, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Returns the experiment that `spec` describes, with `--config.a.b=c` overrides applied.

    `spec` is "FILE.py", the name of an experiment that comes with the package ("quickstart"; a file
    goes before it), either with ":argument" for its `get_config`, or a `.json` file that an earlier
    run has written. Raises FileNotFoundError or ValueError.
    """
    given, _, argument = spec.partition(":")
    path = _file(given)
    config = _overridden(_read(path, argument), overrides)
    return replace(config, "plugins", _found(config.plugins, path))


def with_overrides(config: ExperimentConfig, overrides: Sequence[str]) -> ExperimentConfig:
    """Returns an experiment with `--config.a.b=c` overrides applied."""
    return _overridden(to_plain(config), overrides)


def _overridden(values: dict, overrides: Sequence[str]) -> ExperimentConfig:
    for text in overrides:
        set_path(values, *parse_override(text))
    check_moved(values)
    return build(ExperimentConfig, values, "config")


def _found(plugins: Sequence[str], config: Path) -> tuple[str, ...]:
    """Returns absolute paths of plug-ins, which stand beside the config or start from here."""
    beside = [config.parent / plugin for plugin in plugins]
    return tuple(
        str((near if near.is_file() and not Path(given).is_file() else Path(given)).resolve())
        for given, near in zip(plugins, beside)
    )


def parse_override(text: str) -> tuple[str, Any]:
    """Splits "--config.a.b=c" into ("a.b", value); values read as Python literals, else as text.

    The word "none" stays text, because some fields have a choice of that name; `build` reads it as
    None where None is allowed.
    """
    if not text.startswith(PREFIX) or "=" not in text:
        raise ValueError(f'override "{text}": expected the form --config.group.field=value')
    path, _, value = text[len(PREFIX) :].partition("=")
    return path, _literal(value)


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Returns name → value of "name=value" texts; values read as in `parse_override`."""
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f'option "{text}": expected the form name=value')
        options[name] = _literal(value)
    return options


def set_path(values: dict, path: str, value: Any) -> None:
    """Sets a dotted path in nested dictionaries; a path through a plain value is a ValueError."""
    *groups, last = path.split(".")
    for i, group in enumerate(groups):
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise ValueError(
                f"config.{path}: config.{'.'.join(groups[: i + 1])} is a value ({values!r}), "
                "not a group of fields"
            )
    off = groups == ["tasks"] and value in (None, "none")  # a task is switched off so
    if isinstance(values.get(last), dict) and not isinstance(value, dict) and not off:
        raise ValueError(
            f"config.{path} = {value!r}: this is a group of fields "
            f"{{{', '.join(values[last])}}}; set one of them, or give a {{...}} literal"
        )
    values[last] = value


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of nested dictionaries by dotted path; an empty dictionary is a leaf."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {
        path: leaf
        for key, value in tree.items()
        for path, leaf in flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }


def write_config(config: ExperimentConfig, path: Path) -> None:
    """Writes the resolved experiment as JSON, from which `load_config` gives the same object."""
    path.write_text(json.dumps(to_plain(config), indent=2, sort_keys=True) + "\n")


def _literal(text: str) -> Any:
    named = {"true": True, "false": False, "null": None}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _file(given: str) -> Path:
    """Returns the config file at a path or, if there is none, of a shipped name."""
    path, shipped = Path(given), shipped_configs()
    if path.is_file() or given not in shipped:
        return path
    return shipped[given]


def _read(path: Path, argument: str) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f'no config file "{path}".{_nearest_config(path)}')
    if path.suffix not in (".py", ".json"):
        raise ValueError(
            f'config file "{path}": expected a .py file or the .json of an earlier run'
        )
    values = _plain(_run(path, argument) if path.suffix == ".py" else _resolved(path, argument))
    if not isinstance(values, dict):
        raise ValueError(f'"{path}" gives {values!r}: expected a group of fields')
    return values


def _resolved(path: Path, argument: str) -> Any:
    if argument:
        raise ValueError(
            f'"{path}" takes no argument, got "{argument}": a .json is resolved already'
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f'"{path}" is no JSON: {error}') from None


def import_beside(file: str, path: str) -> ModuleType:
    """Returns the Python file at `path`, which starts from the folder of `file`, as a module.

    With it config files share code: `scenes = import_beside(__file__, "../common/scenes.py")`.
    """
    found = Path(file).resolve().parent / path
    if not found.is_file():
        raise FileNotFoundError(f'"{file}" shares code with "{path}", and there is no "{found}"')
    return _module(found)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"vlp_jax_config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    with _explained(path):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns what running a config file raises into a ValueError with file and line.

    ValueErrors and missing files stay what they are, because a config may check its argument.
    """
    try:
        yield
    except (ValueError, FileNotFoundError):
        raise
    except Exception as error:
        line = last_line(error, (path, path.resolve()))[1]
        raise ValueError(f'config file "{path}"{line}: {reason(error)}') from error


def _run(path: Path, argument: str) -> Any:
    module = _module(path)
    if not hasattr(module, "get_config"):
        raise ValueError(f'"{path}" has no function get_config(argument="")')
    if argument and not module.get_config.__code__.co_argcount:
        raise ValueError(f'"{path}" takes no argument, got "{argument}"')
    with _explained(path):
        return module.get_config(argument) if argument else module.get_config()


def _plain(values: Any) -> Any:
    if isinstance(values, ml_collections.ConfigDict):
        values = values.to_dict()
    if isinstance(values, Mapping):
        return {k: _plain(v) for k, v in values.items()}
    if isinstance(values, (list, tuple)):
        return tuple(_plain(v) for v in values)
    return values


def _nearest_config(path: Path) -> str:
    """Returns which file beside a missing one, or which shipped name, may be meant."""
    beside = [file.name for file in path.parent.glob("*.py")] if path.suffix else []
    name = path.as_posix().removeprefix("configs/").removesuffix(".py")
    meant = nearest(path.name, beside) or nearest(name, shipped_configs())
    return meant or " `vlp-jax models --configs` lists those that come with the package"
