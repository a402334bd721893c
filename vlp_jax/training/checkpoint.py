"""Checkpoints of a run: the only file that talks to Orbax."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from vlp_jax.config import ExperimentConfig, build, nearest
from vlp_jax.config.moved import is_old, without_moved
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.training.optimizer import path_name
from vlp_jax.weights.old_layout import stacked_layout

logger = logging.getLogger(__name__)

STATE, ABOUT = "state", "about"


class CheckpointStore:
    """Saves and restores train states under `<workdir>/checkpoints`, asynchronously.

    Keeps the newest `keep` checkpoints and, if `best` names a metric, the one where it was highest.
    `about` is a JSON-able description (resolved config, vocabulary, answers) saved with each.
    What a killed process has left half-written is ignored, and removed unless `writable` is off.
    """

    def __init__(
        self, workdir: str | Path, keep: int = 2, best: str | None = None, writable: bool = True
    ):
        self.directory = Path(workdir).absolute() / "checkpoints"
        if writable:
            _check_writable(self.directory)
        policies = [checkpoint_managers.LatestN(keep)]
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
        )

    @property
    def latest_step(self) -> int | None:
        """The newest complete checkpoint's step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, about: dict, metrics: dict | None = None) -> None:
        """Starts to save `state` as the checkpoint of `step`; a step that exists is left alone."""
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            **{STATE: ocp.args.StandardSave(state), ABOUT: ocp.args.JsonSave(about)}
        )
        self._manager.save(step, args=items, metrics=metrics, force=True)

    def restore(self, abstract_state: Any, step: int | None = None) -> Any:
        """Returns the state of `step` (default: the newest), laid out as `abstract_state` asks.

        Leaves of `abstract_state` are `jax.ShapeDtypeStruct`s with shardings. Raises ValueError
        that lists what is missing, unexpected or of another shape, before anything is read.
        """
        step = self._existing(step)
        self._check_same_tree(abstract_state, step)
        args = ocp.args.Composite(**{STATE: ocp.args.StandardRestore(abstract_state)})
        with self._reading(step):
            return self._manager.restore(step, args=args)[STATE]

    def restore_params(self, step: int | None = None, which: str = "params") -> Any:
        """Returns one sub-tree of a saved state as numpy arrays on this host.

        Raises ValueError if the state has no such part, as a run without a teacher.
        """
        step = self._existing(step)
        saved = self._saved_tree(step)
        if saved.get(which) is None:
            there = sorted(name for name, part in saved.items() if isinstance(part, dict))
            raise ValueError(
                f'the checkpoint of step {step} in "{self.directory}" holds no "{which}"; it has '
                f"{', '.join(there)}"
            )
        abstract = {which: jax.tree.map(lambda m: np.zeros((0,), m.dtype), saved[which])}
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), abstract)
        args = ocp.args.PyTreeRestore(item=abstract, restore_args=as_numpy, partial_restore=True)
        with self._reading(step):
            path = self.directory / str(step) / STATE
            return ocp.PyTreeCheckpointer().restore(path, args=args)[which]

    def about(self, step: int | None = None) -> dict:
        """Returns the description saved with a checkpoint."""
        step = self._existing(step)
        with self._reading(step):
            return json.loads((self.directory / str(step) / ABOUT / "metadata").read_text())

    def wait(self) -> None:
        """Blocks until all started saves are on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finishes started saves and releases the store."""
        self.wait()
        self._manager.close()

    def _existing(self, step: int | None) -> int:
        steps = self._manager.all_steps()
        if not steps:
            raise FileNotFoundError(f'no complete checkpoint in "{self.directory}"')
        if step is not None and step not in steps:
            raise FileNotFoundError(
                f'no checkpoint of step {step} in "{self.directory}"; there are {sorted(steps)}'
            )
        return max(steps) if step is None else step

    def _saved_tree(self, step: int) -> Any:
        with self._reading(step), ocp.StandardCheckpointer() as checkpointer:
            return checkpointer.metadata(self.directory / str(step) / STATE).item_metadata.tree

    @contextlib.contextmanager
    def _reading(self, step: int) -> Iterator[None]:
        """Says what to do about a damaged checkpoint, on which Orbax fails in many ways."""
        try:
            yield
        except Exception as error:
            older = [s for s in self._manager.all_steps() if s < step]
            then = f"goes on from step {max(older)}" if older else "starts anew"
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            raise ValueError(
                f"the checkpoint of step {step} cannot be read ({what}). If it is damaged, remove "
                f'the folder "{self.directory / str(step)}"; the run then {then}'
            ) from error

    def _check_same_tree(self, wanted: Any, step: int) -> None:
        have, want = _shapes(self._saved_tree(step)), _shapes(wanted)
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


@contextlib.contextmanager
def open_store(workdir: str | Path) -> Iterator[CheckpointStore]:
    """Opens the checkpoints of an existing workdir for reading."""
    workdir = Path(workdir)
    if workdir.name == "checkpoints":
        workdir = workdir.parent
    if not (workdir / "checkpoints").is_dir():
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
    path: str | Path, step: int | None = None, which: str = "params"
) -> tuple[ExperimentConfig, Vocabulary, Any]:
    """Returns the resolved config, the vocabulary and the parameters of a run's checkpoint.

    Of a run from before tasks stood in `config.tasks`, the config has no tasks; parameters of
    single layers are stacked.
    """
    with open_store(path) as store:
        about = store.about(step)
        params = store.restore_params(step, which)
    values = about["config"]
    config = build(ExperimentConfig, without_moved(values) if is_old(values) else values, "config")
    params = stacked_layout(params, config.model)
    return config, Vocabulary.from_json(about["vocabulary"]), params


def _shapes(tree: Any) -> dict[str, tuple]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {path_name(path): _shape(leaf) for path, leaf in flat if leaf is not None}


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
