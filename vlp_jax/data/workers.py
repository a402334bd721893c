"""Worker processes that make batches, where Python's lock keeps threads from using all cores.

Grain starts them, shares the batches out in turn and hands these over in shared memory. Each one
is new (spawned), gets a copy of what makes batches, and never touches an accelerator.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import parent_process, resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlp_jax.config.plugins import PluginError, load_plugins, loaded_plugins, user_message

if TYPE_CHECKING:
    import grain

    from vlp_jax.data.read_ahead import Batch, BatchMaker

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # terminals and SLURM send them to workers as well
_THREADS_INSTEAD = "set config.data.workers = 0 to read in threads"
_CAUSES = {
    "exit code -9": " (killed, often because memory is full: take fewer workers or prefetch less)",
    "exit code -7": " (shared memory, /dev/shm, is full: make it larger, or prefetch less)",
    "exit code 1": ' (a program of your own needs `if __name__ == "__main__":` around its start)',
}
"""What ends of a worker often mean, by how Grain's sentence on them ends."""

_LOADING = threading.Lock()


@dataclass(frozen=True)
class _Note:
    """What comes with a batch: records newly skipped, by source, and what went wrong instead."""

    skipped: dict[str, list[tuple[int, str]]]
    error: Exception | None = None


def in_workers(
    maker: "BatchMaker", steps: "grain.MapDataset", options: "grain.ReadOptions", workers: int
) -> Iterator["Batch"]:
    """Yields the maker's batches of `steps`, made by worker processes with `options` each.

    What they skip is filed with `maker`, and what they raise is raised here. ValueError for a maker
    that can't be given to them, and when one of them has ended.
    """
    import grain  # noqa: PLC0415 (slow to import)
    from absl import flags  # noqa: PLC0415 (Grain's)

    flags.FLAGS.mark_as_parsed()  # Grain reads some, and only absl's own main function parses them
    copy = _Copy(_pickled(maker), loaded_plugins())
    processes = grain.MultiprocessingOptions(num_workers=workers)
    stream = iter(steps.map(copy).to_iter_dataset(options).mp_prefetch(processes, _begin))
    try:
        with _signals_held():
            found = _next(stream)
        while found is not None:
            yield _opened(maker, *found)
            found = _next(stream)
    finally:
        stream.close()


def _opened(maker: "BatchMaker", batch: "Batch", note: _Note) -> "Batch":
    """Returns a batch, having done what is noted with it."""
    for source, records in note.skipped.items():
        for index, reason in records:
            maker.skipped_by_source[source].add(index, reason)
    if note.error is not None:
        raise note.error
    return batch


def _pickled(maker: "BatchMaker") -> bytes:
    """Returns the maker as bytes: once, and not by Grain for each worker."""
    import cloudpickle  # noqa: PLC0415 (not needed otherwise)

    try:
        return cloudpickle.dumps(maker)
    except Exception as error:
        raise ValueError(
            f"config.data.workers needs sources and transforms that can be pickled, to give them "
            f"to other processes ({error}): {_THREADS_INSTEAD}"
        ) from error


def _next(stream: Iterator[Any]) -> Any:
    """Returns what the workers made next, or None at the end."""
    try:
        return next(stream, None)
    except Exception as error:  # Grain's own: errors of a maker come in notes
        said = str(error).partition(". ")[0]
        cause = next((cause for code, cause in _CAUSES.items() if said.endswith(code)), "")
        raise ValueError(
            f"a worker process of config.data.workers has failed: {said}{cause}. "
            f"Start again, or {_THREADS_INSTEAD}"
        ) from error


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Holds signals back while workers are started, which so never get them: masks are inherited.

    To ignore them is too late for a worker that is not ready yet. The tracker of shared memory is
    started before, because starting it lets signals through.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(number: int, workers: int) -> None:
    """Runs first in a worker: no accelerator is touched, and it ends with its parent."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    if "jax" in sys.modules:  # imported by the main program, which a spawned process runs again
        sys.modules["jax"].config.update("jax_platforms", "cpu")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)


class _Copy:
    """A maker as bytes, of which a worker makes an object when it is first called."""

    def __init__(self, pickled: bytes, plugins: Sequence[Path]):
        self._pickled, self._plugins = pickled, plugins

    def __call__(self, step: int) -> tuple["Batch", _Note]:
        """Returns a batch, empty if it could not be made, and the note on it."""
        try:
            with _LOADING:
                maker = self._maker
            batch = maker.batch(step)
        except Exception as error:  # as a value, because not every exception can be pickled
            return {}, _Note({}, _sendable(error))
        return batch, _Note({name: s.taken() for name, s in maker.skipped_by_source.items()})

    @functools.cached_property
    def _maker(self) -> "BatchMaker":
        import cloudpickle  # noqa: PLC0415 (not needed otherwise)

        load_plugins(self._plugins)
        return cloudpickle.loads(self._pickled)


def _sendable(error: Exception) -> Exception:
    """Returns what is raised in the main process instead of an error."""
    message = user_message(error)
    if isinstance(error, ValueError | OSError):
        return ValueError(message)
    if message:
        return PluginError(message)
    return RuntimeError(f"a worker process failed:\n{''.join(traceback.format_exception(error))}")
