"""Random vectors, ids, queues and views for the tests of contrastive losses."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from tests.tasks.fakes import FakeViews
from vlp_jax.losses.momentum import Queue
from vlp_jax.losses.similarity_blocks import Columns, Side

WIDTH = 6


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    """Returns unit vectors [count, WIDTH]."""
    drawn = rng.normal(size=(count, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def random_ids(rng: np.random.Generator, count: int, kinds: int) -> np.ndarray:
    """Returns image ids, most of which occur more than once."""
    return rng.integers(0, kinds, count).astype(np.int32)


def random_queue(rng: np.random.Generator, count: int, kinds: int) -> Queue:
    """Returns a queue in which the last row is empty."""
    ids = random_ids(rng, count, kinds)
    ids[-1] = -100
    stored = unit(rng, count), unit(rng, count), ids
    return Queue(*map(jnp.asarray, stored), jnp.zeros((), jnp.int32))


def random_rows(rng: np.random.Generator, count: int, taught: bool) -> Side:
    """Returns rows whose ids are 0 to count - 1 in some order."""
    ids = rng.permutation(count).astype(np.int32)
    return Side(unit(rng, count), unit(rng, count) if taught else None, ids)


def random_columns(rng: np.random.Generator, count: int, rows: int, taught: bool) -> Columns:
    """Returns columns among which every row has a positive; shares differ."""
    ids = np.concatenate([np.arange(rows), random_ids(rng, count - rows, rows + 2)])
    share = np.where(np.arange(count) < rows, 1.0, 0.3).astype(np.float32)
    order = rng.permutation(count)
    soft = unit(rng, count) if taught else None
    return Columns(unit(rng, count), soft, ids[order].astype(np.int32), share[order])


def views_of(ids: Any, image: Any, text: Any, temperature: Any = 0.5, bias: Any = 0.0) -> FakeViews:
    """Returns views of a batch with these ids and vectors."""
    return FakeViews({"image_id": ids}, image, text, temperature, bias=bias)
