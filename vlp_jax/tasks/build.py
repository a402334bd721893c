"""From `config.tasks` to tasks: by name, with settings checked and plug-ins loaded."""

import importlib.util
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from vlp_jax.config import ExperimentConfig, checked_fields
from vlp_jax.tasks.base import TASKS, Task

_PREFIX = "vlp_jax_plugin_"  # of the modules' names


def build_tasks(config: ExperimentConfig) -> dict[str, Task]:
    """Returns the tasks of an experiment; those set to None are off.

    Raises ValueError for unknown tasks and settings, with the path and the nearest valid name.
    """
    tasks = {name: _build(name, args) for name, args in config.tasks.items() if args is not None}
    if not tasks:
        raise ValueError(f"config.tasks is empty. Known tasks: {', '.join(sorted(TASKS))}")
    for name, task in tasks.items():
        task.check(f"config.tasks.{name}", config, tasks)
    return tasks


def _build(name: str, args: Mapping) -> Task:
    path, args = f"config.tasks.{name}", dict(args)
    cls = TASKS.get_known(args.pop("kind", name), path)
    values = checked_fields(cls, args, path)
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from None


def load_plugins(paths: Sequence[str | Path]) -> None:
    """Runs Python files that register tasks, heads, encoders, sources, … of the user's own.

    Each file runs once a process. Raises FileNotFoundError for a file that is not there, and
    ValueError with the place for one that fails.
    """
    for path in paths:
        file = Path(path).resolve()
        name = f"{_PREFIX}{file.stem}_{zlib.crc32(str(file).encode()):08x}"
        if name in sys.modules:
            continue
        if not file.is_file():
            raise FileNotFoundError(f'plug-in "{path}": there is no such file')
        if file.suffix != ".py":
            raise ValueError(f'plug-in "{path}": expected a .py file')
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except Exception as error:
            del sys.modules[name]
            raise ValueError(f'plug-in "{path}": {type(error).__name__}: {error}') from error


def check_plugins(config: ExperimentConfig) -> None:
    """Raises ValueError for plug-ins of a saved run that have not been loaded.

    Nothing that a checkpoint names is run by itself.
    """
    loaded = {Path(m.__file__).name for n, m in sys.modules.items() if n.startswith(_PREFIX)}
    missing = [path for path in config.plugins if Path(path).name not in loaded]
    if missing:
        raise ValueError(
            f"the run uses plug-ins, {', '.join(missing)}: Python code that runs only if you give "
            "it (vlp-jax evaluate --plugin FILE, vlp_jax.load(…, plugins=[FILE]))"
        )
