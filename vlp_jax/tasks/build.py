"""From `config.tasks` to tasks: by name, with settings checked and plug-ins loaded."""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

from vlp_jax.config import ExperimentConfig, checked_fields
from vlp_jax.tasks.base import TASKS, Task


def build_tasks(config: ExperimentConfig) -> dict[str, Task]:
    """Returns the tasks of an experiment; those set to None are off.

    Raises ValueError for unknown tasks and settings, with the path and the nearest valid name.
    """
    load_plugins(config.plugins)
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


def load_plugins(paths: tuple[str, ...]) -> None:
    """Runs Python files that register tasks, heads, encoders, sources, … of the user's own.

    Each file runs once a process. Raises FileNotFoundError for a file that is not there, and
    ValueError with the place for one that fails.
    """
    for path in paths:
        file = Path(path).resolve()
        name = f"vlp_jax_plugin_{file.stem}_{abs(hash(str(file)))}"
        if name in sys.modules:
            continue
        if not file.is_file():
            raise FileNotFoundError(f'config.plugins names "{path}", and there is no such file')
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except Exception as error:
            del sys.modules[name]
            raise ValueError(f'plug-in "{path}": {type(error).__name__}: {error}') from error
