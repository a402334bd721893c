"""Plug-ins: Python files of the user's own, run when asked for, and where in one an error arose."""

import importlib.util
import sys
import traceback
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from vlp_jax.config.registry import nearest
from vlp_jax.config.schema import ExperimentConfig

_PREFIX = "vlp_jax_plugin_"  # of the modules' names


class PluginError(Exception):
    """A plug-in does not give what it has to; no record is to blame, so none is skipped."""


def load_plugins(paths: Sequence[str | Path]) -> None:
    """Runs Python files that register tasks, heads, encoders, sources, … of the user's own.

    Each file runs once a process. Raises FileNotFoundError for a file that is not there, and
    ValueError with the line for one that fails.
    """
    for path in paths:
        file = Path(path).resolve()
        name = f"{_PREFIX}{file.stem}_{zlib.crc32(str(file).encode()):08x}"
        if name in sys.modules:
            continue
        if not file.is_file():
            raise FileNotFoundError(_not_there(path, file))
        if file.suffix != ".py":
            raise ValueError(f'plug-in "{path}": expected a .py file')
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except Exception as error:
            del sys.modules[name]
            line = last_line(error, (file,))[1]
            raise ValueError(f'plug-in "{path}"{line}: {reason(error)}') from error


def loaded_plugins() -> set[Path]:
    """Returns the files that have been run."""
    return {Path(m.__file__).resolve() for n, m in sys.modules.items() if n.startswith(_PREFIX)}


def check_plugins(config: ExperimentConfig) -> None:
    """Raises ValueError for plug-ins of a saved run that have not been loaded.

    Nothing that a checkpoint names is run by itself.
    """
    loaded = {file.name for file in loaded_plugins()}
    missing = [path for path in config.plugins if Path(path).name not in loaded]
    if missing:
        raise ValueError(
            f"the run uses plug-ins, {', '.join(missing)}: Python code that runs only if you give "
            "it (vlp-jax evaluate --plugin FILE, vlp_jax.load(…, plugins=[FILE]))"
        )


def place_in_plugin(error: BaseException) -> str:
    """Returns 'plug-in "FILE", line N' where an error passed through a plug-in, or nothing."""
    file, line = last_line(error, loaded_plugins())
    return f'plug-in "{file}"{line}' if file else ""


def last_line(error: BaseException, files: Collection[Path]) -> tuple[Path | None, str]:
    """Returns the file and the line (", line 7") of `files` that ran last before an error."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) in files:
        return Path(error.filename), f", line {error.lineno}"
    for one in _with_causes(error):
        for frame in reversed(traceback.extract_tb(one.__traceback__)):
            if (file := Path(frame.filename).resolve()) in files:
                return file, f", line {frame.lineno}"
    return None, ""


def reason(error: BaseException) -> str:
    """Returns the kind of an error and the first line of what it says."""
    said = error.msg if isinstance(error, SyntaxError) else str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said}"


def user_message(error: BaseException) -> str:
    """Returns what to say of an error of the user's making, or in a plug-in; nothing of others."""
    place = place_in_plugin(error)
    if isinstance(error, ValueError | OSError | PluginError):
        return f"{error} ({place})" if place and place not in str(error) else str(error)
    return place and f"{place}: {reason(error)}"


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _not_there(path: str | Path, file: Path) -> str:
    what = "this is a folder" if file.is_dir() else "there is no such file"
    beside = [] if file.is_dir() else [other.name for other in file.parent.glob("*.py")]
    return f'plug-in "{path}": {what}.{nearest(file.name, beside)}'.removesuffix(".")
