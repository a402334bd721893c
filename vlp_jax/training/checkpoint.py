"""Checkpoints of a run: the only file that talks to Orbax."""

import contextlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers, type_handlers
from orbax.checkpoint._src.metadata import array_metadata_store  # what typed keys are noted in

from vlp_jax.config import ExperimentConfig, build, nearest
from vlp_jax.config.moved import is_old, without_moved
from vlp_jax.data.buckets import is_bucket
from vlp_jax.data.paths import absolute, holds_run, run_path
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.parallel import all_arrive, said_by_any
from vlp_jax.training.checkpoint_files import changed_file
from vlp_jax.training.checkpoint_marks import DIVERGED, GOOD, CheckpointMarks
from vlp_jax.training.checksums import checksums, differences
from vlp_jax.training.optimizer import path_name
from vlp_jax.weights.old_layout import stacked_layout

logger = logging.getLogger(__name__)

STATE, ABOUT, CHECKSUMS = "state", "about", "checksums"

# Copies of an array on several devices write a part each; cutting small ones costs more than it
# saves: 2 s a checkpoint of 240 arrays on 8 devices.
_CUT_BYTES = 1 << 20


class DamagedCheckpoint(ValueError):
    """A checkpoint that cannot be read, or whose contents are not those that were saved.

    `step` is its step, `undamaged` the newest older one that can be used instead, or None.
    """

    def __init__(self, message: str, step: int, undamaged: int | None):
        super().__init__(message)
        self.step, self.undamaged = step, undamaged


class _Damage(Exception):
    """What is wrong with a checkpoint, before it is known what to do instead."""


class CheckpointStore:
    """Saves and restores train states under `<workdir>/checkpoints`, asynchronously.

    Keeps the newest `keep` checkpoints, the newest that is marked as good, and, if `best` names a
    metric, the one where it was highest. `about` is a JSON-able description (resolved config,
    vocabulary, answers) saved with each, as are checksums of every array, which are verified
    whenever it is read, and a note of its files, verified with `about`. What a killed process has
    left half-written is ignored, and removed unless `writable` is off. Of several processes all
    call each method.
    """

    def __init__(
        self, workdir: str | Path, keep: int = 2, best: str | None = None, writable: bool = True
    ):
        self.directory = absolute(run_path(workdir, "workdir")) / "checkpoints"
        if writable and not is_bucket(self.directory):
            _check_writable(self.directory)
        policies = [checkpoint_managers.LatestN(keep), _KeepsNewestGood(self)]
        if best is not None:
            get_best = lambda metrics: metrics.get(best, -np.inf)
            policies.append(checkpoint_managers.BestN(get_metric_fn=get_best, n=1))
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(policies),
                enable_async_checkpointing=True,
                create=writable,
                cleanup_tmp_directories=writable,
                best_fn=None if best is None else get_best,
            ),
            item_handlers={
                STATE: _array_trees(),
                ABOUT: ocp.JsonCheckpointHandler(),
                CHECKSUMS: ocp.JsonCheckpointHandler(),
            },
        )
        self._reader = _array_trees()
        writes = writable and jax.process_index() == 0
        self.marks = CheckpointMarks(self._folder, self._is_complete, self.steps, writes)

    @property
    def steps(self) -> list[int]:
        """The steps of all complete checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    @property
    def latest_step(self) -> int | None:
        """The step to go on from: the newest whose run did not diverge from there, or None."""
        return max((s for s in self.steps if self.marks.of(s) != DIVERGED), default=None)

    @property
    def good_step(self) -> int | None:
        """The newest step that is marked as good, or None."""
        return self.marks.newest_good(self.steps)

    def save(self, step: int, state: Any, about: dict, metrics: dict | None = None) -> None:
        """Starts to save `state` as the checkpoint of `step`; a step that exists is left alone."""
        if step in self.steps:
            return
        self.marks.begin(step)
        sums = {"arrays": checksums(state), "about": _json_sum(about)}
        items = ocp.args.Composite(
            **{
                STATE: ocp.args.PyTreeSave(state),
                ABOUT: ocp.args.JsonSave(about),
                CHECKSUMS: ocp.args.JsonSave(sums),
            }
        )
        self._manager.save(step, args=items, metrics=metrics, force=True)
        self.marks.write()

    def mark_good(self, step: int) -> None:
        """Notes that a step after this checkpoint was finite."""
        self.marks.set(step, GOOD)

    def mark_diverged(self) -> None:
        """Notes of all checkpoints after the newest good one that no later step was finite."""
        good = self.good_step
        for step in [s for s in self.steps if good is not None and s > good]:
            self.marks.set(step, DIVERGED)

    def set_aside(self, step: int, why: str) -> None:
        """Renames a checkpoint's folder to `<step>.<why>`, in which nothing looks for one."""
        self.wait()
        if jax.process_index() == 0:
            self._folder(step).rename(_free_name(self._folder(step), why))
        all_arrive(f"checkpoint {step} is set aside")
        self.marks.forget(step)
        self._manager.reload()

    def restore(self, abstract_state: Any, step: int | None = None) -> Any:
        """Returns the state of `step` (default: `latest_step`), laid out as `abstract_state` asks.

        Leaves of `abstract_state` are `jax.ShapeDtypeStruct`s with shardings; floating numbers of
        another type are verified as they were saved, and then converted. Raises ValueError
        that lists what is missing, unexpected or of another shape, before anything is read, and
        DamagedCheckpoint.
        """
        step = self._existing(step)
        with self._explained(step):
            saved = self._saved_tree(step)
            self._check_same_tree(abstract_state, saved, step)
            kept = _typed_as(abstract_state, saved)
            restore_args = ocp.checkpoint_utils.construct_restore_args(kept)
            state, damage = None, None
            try:
                state = self._read_state(step, ocp.args.PyTreeRestore(kept, restore_args))
            except _Damage as error:
                damage = str(error)
            damage = said_by_any(damage)  # of what only one process reads
            if damage:
                raise _Damage(damage)
            self._verify(step, state)
            return jax.tree.map(_as_type_of, state, abstract_state)

    def restore_params(self, step: int | None = None, which: str = "params") -> Any:
        """Returns one sub-tree of a saved state as numpy arrays of float32 on this host.

        Raises ValueError if the state has no such part, as a run without a teacher, and
        DamagedCheckpoint.
        """
        step = self._existing(step)
        with self._explained(step):
            saved = self._saved_tree(step)
            if saved.get(which) is not None:
                part = self._read_part(step, saved, which)[which]
                return jax.tree.map(lambda x: x.astype(np.float32, copy=False), part)
        there = sorted(name for name, part in saved.items() if isinstance(part, dict))
        raise ValueError(
            f'the checkpoint of step {step} in "{self.directory}" holds no "{which}"; it has '
            f"{', '.join(there)}"
        )

    def about(self, step: int | None = None) -> dict:
        """Returns the description saved with a checkpoint."""
        step = self._existing(step)
        with self._explained(step):
            return self._read_about(step)

    def undamaged_before(self, step: int) -> int | None:
        """Returns the newest older step that can be used, having read it whole."""
        older = [s for s in self.steps if s < step and self.marks.of(s) != DIVERGED]
        return next((s for s in reversed(older) if self._damage(s) is None), None)

    def wait(self) -> None:
        """Blocks until all started saves are on disk."""
        self._manager.wait_until_finished()
        self.marks.write()

    def close(self) -> None:
        """Finishes started saves and releases the store."""
        self.wait()
        self._manager.close()

    def _folder(self, step: int) -> Path:
        return self.directory / str(step)

    def _is_complete(self, step: int) -> bool:
        """In a bucket a folder is there before what was saved is complete."""
        folder = self._folder(step)
        return folder.is_dir() and ocp.utils.is_checkpoint_finalized(folder)

    def _existing(self, step: int | None) -> int:
        steps = self.steps
        if not steps:
            raise FileNotFoundError(f'no complete checkpoint in "{self.directory}"')
        if step is not None and step not in steps:
            raise FileNotFoundError(
                f'no checkpoint of step {step} in "{self.directory}"; there are {steps}'
            )
        latest = self.latest_step
        return step if step is not None else max(steps) if latest is None else latest

    def _saved_tree(self, step: int) -> Any:
        with _reading():
            return self._reader.metadata(self._folder(step) / STATE).tree

    def _read_about(self, step: int) -> dict:
        with _reading():
            about = json.loads((self._folder(step) / ABOUT / "metadata").read_text())
            sums = self._sums(step)
        if sums is not None and _json_sum(about) != sums["about"]:
            raise _Damage("config and vocabulary are not what was saved")
        with _reading():
            changed = changed_file(self._folder(step))
        if changed:
            raise _Damage(changed)
        return about

    def _read_part(self, step: int, saved: Any, name: str) -> Any:
        """Returns {name: part of the state} as numpy arrays."""
        abstract = {name: jax.tree.map(lambda m: np.zeros((0,), m.dtype), saved[name])}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), abstract)
        args = ocp.args.PyTreeRestore(item=abstract, restore_args=as_numpy, partial_restore=True)
        part = self._read_state(step, args)
        self._verify(step, part)
        return part

    def _read_state(self, step: int, args: ocp.args.PyTreeRestore) -> Any:
        """Reads without waiting for other processes, unlike the manager."""
        with _reading():
            return self._reader.restore(self._folder(step) / STATE, args=args)

    def _verify(self, step: int, state: Any) -> None:
        with _reading():
            sums = self._sums(step)
        wrong = [] if sums is None else differences(checksums(state), sums["arrays"])
        if wrong:
            more = f" and {len(wrong) - 1} more arrays are" if len(wrong) > 1 else " is"
            raise _Damage(f"{wrong[0]}{more} not what was saved")

    def _sums(self, step: int) -> dict | None:
        """Returns what a checkpoint is verified by, None for one from before there was such."""
        about_items = json.loads((self._folder(step) / "_CHECKPOINT_METADATA").read_text())
        if CHECKSUMS not in about_items["item_handlers"]:
            logger.warning("the checkpoint of step %d has no checksums: it is not verified", step)
            return None
        sums = json.loads((self._folder(step) / CHECKSUMS / "metadata").read_text())
        return {"arrays": dict(sums["arrays"]), "about": sums["about"]}

    def _damage(self, step: int) -> str | None:
        """Reads a checkpoint whole, part by part, and returns what is wrong with it."""
        try:
            self._read_about(step)
            saved = self._saved_tree(step)
            for name in saved:
                if jax.tree.leaves(saved[name]):
                    self._read_part(step, saved, name)
        except _Damage as damage:
            return str(damage)
        return None

    @contextlib.contextmanager
    def _explained(self, step: int) -> Iterator[None]:
        """Says of a damaged checkpoint what to do."""
        try:
            yield
        except _Damage as damage:
            older = self.undamaged_before(step)
            folder = f'remove the folder "{self._folder(step)}"'
            if older is None:
                way_out = f"No older one can be used: {folder}; the run then starts anew"
            else:
                way_out = (
                    f"The newest undamaged one is of step {older}: give --allow-older, or "
                    f"{folder}; the run then goes on from step {older}"
                )
            message = f"the checkpoint of step {step} is damaged: {damage}. {way_out}"
            raise DamagedCheckpoint(message, step, older) from damage

    def _check_same_tree(self, wanted: Any, saved: Any, step: int) -> None:
        have, want = _shapes(saved), _shapes(wanted)
        # Parameters first: their moments and the teacher only repeat what differs.
        names = sorted({**want, **have}, key=lambda name: not name.startswith("params/"))
        shapes = [(name, have.get(name), want.get(name)) for name in names]
        lines = [_difference(name, old, new) for name, old, new in shapes if old != new]
        if lines:
            shown = lines[:12] + [f"  … and {len(lines) - 12} more"] * (len(lines) > 12)
            raise ValueError(
                f'the checkpoint of step {step} in "{self.directory}" is of another model or '
                "another configuration:\n" + "\n".join(shown)
            )


def _array_trees() -> ocp.PyTreeCheckpointHandler:
    """Returns what writes and reads trees of arrays."""
    arrays = type_handlers.ArrayHandler(
        min_slice_bytes_for_replica_parallel=_CUT_BYTES,
        array_metadata_store=array_metadata_store.Store(),
    )
    kinds = {kind: type_handlers.get_type_handler(kind) for kind in type_handlers.supported_types()}
    registry = type_handlers.create_type_handler_registry(*(kinds | {jax.Array: arrays}).items())
    return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


@contextlib.contextmanager
def open_store(workdir: str | Path) -> Iterator[CheckpointStore]:
    """Opens the checkpoints of an existing workdir for reading."""
    workdir = run_path(workdir, "workdir")
    if workdir.name == "checkpoints":
        workdir = workdir.parent
    if not holds_run(workdir):
        known = workdir.parent.iterdir() if workdir.parent.is_dir() else ()
        runs = [p.name for p in known if (p / "checkpoints").is_dir()]
        raise FileNotFoundError(
            f'"{workdir}" holds no checkpoints.{nearest(workdir.name, runs)}'
            + (f" Runs beside it: {', '.join(sorted(runs))}" if runs else "")
        )
    store = CheckpointStore(workdir, writable=False)
    try:
        yield store
    finally:
        store.close()


def read_run(
    path: str | Path, step: int | None = None, which: str = "params", allow_older: bool = False
) -> tuple[ExperimentConfig, Vocabulary, Any]:
    """Returns the resolved config, the vocabulary and the parameters of a run's checkpoint.

    Of a run from before tasks stood in `config.tasks`, the config has no tasks; parameters of
    single layers are stacked. With `allow_older` a damaged checkpoint gives way, with a warning, to
    the newest undamaged one.
    """
    with open_store(path) as store:
        try:
            about, params = store.about(step), store.restore_params(step, which)
        except DamagedCheckpoint as error:
            if not allow_older or error.undamaged is None:
                raise
            logger.warning("%s", older_instead(error))
            about = store.about(error.undamaged)
            params = store.restore_params(error.undamaged, which)
    values = about["config"]
    config = build(ExperimentConfig, without_moved(values) if is_old(values) else values, "config")
    params = stacked_layout(params, config.model)
    return config, Vocabulary.from_json(about["vocabulary"]), params


def older_instead(error: DamagedCheckpoint) -> str:
    """Returns the sentence that says which checkpoint is taken in place of a damaged one."""
    reason = str(error).partition(". The newest undamaged")[0]
    return f"{reason}; step {error.undamaged} is taken instead"


@dataclass
class _KeepsNewestGood:
    """The policy that never removes the newest checkpoint that is known to be good."""

    store: CheckpointStore

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        good = self.store.marks.newest_good([c.step for c in checkpoints])
        return [c.step == good for c in checkpoints]


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turns the many ways in which reading a damaged checkpoint fails into one."""
    try:
        yield
    except Exception as error:
        lines = f"it cannot be read ({type(error).__name__}: {error}".splitlines()
        raise _Damage(f"{lines[0]:.300})") from error


def _json_sum(values: dict) -> str:
    """Returns a checksum of a JSON-able description that saving and reading leave as it is."""
    text = json.dumps(json.loads(json.dumps(values)), sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x}"


def _free_name(folder: Path, why: str) -> Path:
    names = (folder.with_name(f"{folder.name}.{why}{number or ''}") for number in range(1000))
    return next(name for name in names if not name.exists())


def _by_name(tree: Any) -> dict[str, Any]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {path_name(path): leaf for path, leaf in flat if leaf is not None}


def _shapes(tree: Any) -> dict[str, tuple]:
    return {name: _shape(leaf) for name, leaf in _by_name(tree).items()}


def _typed_as(wanted: Any, saved: Any) -> Any:
    """Returns the shapes of `wanted`, floating numbers in the type that they have on disk."""
    there = _by_name(saved)

    def typed(path: tuple, leaf: Any) -> Any:
        if not jax.dtypes.issubdtype(leaf.dtype, np.floating):
            return leaf
        return leaf.update(dtype=there[path_name(path)].dtype)

    return jax.tree_util.tree_map_with_path(typed, wanted)


def _as_type_of(x: Any, wanted: Any) -> Any:
    return x if x.dtype == wanted.dtype else x.astype(wanted.dtype)


def _difference(name: str, have: tuple | None, want: tuple | None) -> str:
    if have is None:
        return f"  missing in the checkpoint: {name} {want}"
    if want is None:
        return f"  only in the checkpoint: {name} {have}"
    return f"  {name}: checkpoint {have}, model {want}"


def _shape(leaf: Any) -> tuple[int, ...]:
    """The shape on disk; a typed PRNG key is stored as its raw words."""
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.eval_shape(jax.random.key_data, leaf).shape
    return tuple(leaf.shape)


def _check_writable(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f'cannot create "{directory}": {error.strerror or error}') from None
    if not os.access(directory, os.W_OK):
        raise ValueError(f'the workdir "{directory}" is not writable')
