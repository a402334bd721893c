"""Several pipelines in one stream: every step draws the one its batch comes from, or its turn."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import numpy as np

from vlp_jax.config import nearest
from vlp_jax.data.pipeline import FOREVER, Pipeline
from vlp_jax.data.read_ahead import Batch, Reading, read_ahead
from vlp_jax.data.records import SkippedRecords

_CHUNK = 1024  # steps whose choices are drawn together


class Mixture:
    """Batches of one source each, the source drawn per step in fixed proportions, or in turn.

    A part may join at a later step; until then the others are drawn as if it were not there. The
    choice at a step depends on (seed, step) alone, and a source's batch number is the count of
    earlier steps that chose it; so any step can be made directly and a run can be longer without
    changing its beginning. Drawing is UNITER's task sampling (`data/loader.py`), taking turns is
    12-in-1's (`train_tasks.py`); a source that is at its end begins anew.

    Image ids are `id * parts + number of the part`, as in source "joined": a queue of past batches
    tells the images of different parts apart.
    """

    def __init__(
        self,
        parts: Sequence[tuple[str, Pipeline, float]],
        seed: int = 0,
        order: Literal["drawn", "in_turn"] = "drawn",
        reading: Reading = Reading(),
        first_steps: Mapping[str, int] = {},
    ):
        """parts: (name, pipeline, weight) with positive weights of any sum, read where drawn.

        `reading` is who makes the batches of all parts ahead; what the parts have is not used.
        `first_steps` says, where parts are drawn, at which step some of them join.
        """
        names = [name for name, _, _ in parts]
        if not parts or len(set(names)) < len(names):
            raise ValueError(f"a mixture needs one or more different names, given: {names}")
        weights = np.array([weight for _, _, weight in parts], np.float64)
        if not (np.isfinite(weights).all() and (weights > 0).all()):
            raise ValueError(f"mixture weights must be above 0, given: {weights.tolist()}")
        if seed < 0:
            raise ValueError(f"the mixture's seed is {seed}, expected 0 or more")
        self._parts = {name: pipeline for name, pipeline, _ in parts}
        self._names = names
        self._weights = weights
        self._first_steps = np.array([first_steps.get(name, 0) for name in names])
        if self._first_steps.min():
            raise ValueError(
                f"no part of the mixture is there at step 0: {', '.join(names)} join at "
                f"{', '.join(map(str, self._first_steps))}"
            )
        self._seed = seed
        self._drawn = order == "drawn"
        self._reading = reading
        self._before = np.zeros((1, len(parts)), np.int64)  # uses before each chunk

    def __getitem__(self, name: str) -> Pipeline:
        """Returns the pipeline of that name."""
        if name not in self._parts:
            known = ", ".join(self._names)
            raise ValueError(
                f'no part "{name}" in the mixture.{nearest(name, self._names)} Known: {known}'
            )
        return self._parts[name]

    @property
    def skipped(self) -> dict[str, str]:
        """ "name/record index" → reason of the records that were replaced."""
        return {
            f"{name}/{index}": reason
            for name, pipeline in self._parts.items()
            for index, reason in pipeline.skipped.items()
        }

    @property
    def skipped_by_source(self) -> dict[str, SkippedRecords]:
        """Where the records of each part that were replaced are filed."""
        return {
            name: skipped
            for name, pipeline in self._parts.items()
            for skipped in pipeline.skipped_by_source.values()
        }

    @property
    def skipped_total(self) -> int:
        """The number of records that were replaced or left out, in all parts."""
        return sum(pipeline.skipped_total for pipeline in self._parts.values())

    def know_sizes(self, sizes: Mapping[str, int]) -> None:
        """Skips records with numbers beyond the tables of the model, see `Pipeline.know_sizes`."""
        for pipeline in self._parts.values():
            pipeline.know_sizes(sizes)

    def choice(self, step: int) -> str:
        """Returns the name of the part that a step's batch comes from."""
        if not self._drawn:
            return self._names[step % len(self._names)]
        return self._names[self._draws(step // _CHUNK)[step % _CHUNK]]

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step."""
        name = self.choice(step)
        return self._with_own_ids(name, self._parts[name].batch(self._uses(step)[name]))

    def iterate(self, start_step: int = 0) -> Iterator[Batch]:
        """Yields the batches from start_step on, made ahead in the background."""
        return read_ahead(self, start_step, FOREVER, self._reading)

    def _with_own_ids(self, name: str, batch: Batch) -> Batch:
        """Returns a part's batch with image ids that no other part has."""
        parts, ids = len(self._names), batch["image_id"]
        if parts == 1:
            return batch
        most = 2**31 // parts - 1
        wrong = ids[(ids < 0) | (ids > most)]
        if wrong.size:
            raise ValueError(
                f"image_id {wrong[0]} of source {name} must be from 0 to {most}, because the 32 "
                f"bits of an id are divided among {parts} sources"
            )
        return batch | {"image_id": ids * np.int32(parts) + np.int32(self._names.index(name))}

    def _draws(self, chunk: int) -> np.ndarray:
        """Returns the part numbers that the steps of a chunk choose, int [chunk length]."""
        draws = np.random.default_rng((self._seed, chunk)).random(_CHUNK)
        steps = chunk * _CHUNK + np.arange(_CHUNK)
        weights = np.where(steps[:, None] >= self._first_steps, self._weights, 0.0)
        edges = np.cumsum(weights, axis=1)[:, :-1] / weights.sum(axis=1, keepdims=True)
        return (draws[:, None] >= edges).sum(axis=1)

    def _uses(self, step: int) -> dict[str, int]:
        """Returns how many steps before `step` chose each part."""
        if not self._drawn:
            turns, rest = divmod(step, len(self._names))
            return {name: turns + (place < rest) for place, name in enumerate(self._names)}
        chunk, rest = divmod(step, _CHUNK)
        before = self._before
        while len(before) <= chunk:
            counts = np.bincount(self._draws(len(before) - 1), minlength=len(self._names))
            before = np.vstack([before, before[-1] + counts])
        self._before = before
        here = np.bincount(self._draws(chunk)[:rest], minlength=len(self._names))
        return dict(zip(self._names, (before[chunk] + here).tolist()))
