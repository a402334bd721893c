"""Scores of queries for candidates, made some queries at a time: never the whole matrix."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from vlp_jax.metrics.retrieval import Ranks, relevant_ranks, rerank

_AT_ONCE = 256  # queries: 26 MB of scores for 25,000 candidates
_PAIRS = 65_536  # whose vectors are compared at once


@dataclass(frozen=True)
class QueryScores:
    """The similarity of Q queries to C candidates, of which the best may have been scored again.

    Attributes:
      queries, candidates: vectors [Q, W] and [C, W], whose inner product is the similarity.
      best: int [Q, k], distinct in each row; new: their scores [Q, k], which place them above all
        others (see `rerank`). None where similarity alone counts.
    """

    queries: np.ndarray
    candidates: np.ndarray
    best: np.ndarray | None = None
    new: np.ndarray | None = None

    def of(self, rows: slice | Sequence[int]) -> np.ndarray:
        """Returns the scores [n, C] of some queries."""
        scores = self.queries[rows] @ self.candidates.T
        return scores if self.best is None else rerank(scores, self.best[rows], self.new[rows])

    def of_pairs(self, queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Returns the similarity [N] of query i to candidate j for index arrays [N]."""
        parts = [
            np.einsum("nw,nw->n", self.queries[queries[rows]], self.candidates[candidates[rows]])
            for rows in _blocks(len(queries), _PAIRS)
        ]
        return np.concatenate(parts)

    def most_similar(self, k: int) -> np.ndarray:
        """Returns each query's k (or all) best candidates, int [Q, k], the best first."""
        blocks = _blocks(len(self.queries), _AT_ONCE)
        return np.concatenate([best_candidates(self.of(rows), k) for rows in blocks])

    def scored_again(self, best: np.ndarray, new: np.ndarray) -> "QueryScores":
        """Returns the same with new scores of the best."""
        return dataclasses.replace(self, best=best, new=new)

    def ranks(self, query_ids: np.ndarray, candidate_ids: np.ndarray) -> Ranks:
        """Returns `relevant_ranks` of the scores, equal ids being relevant to each other."""
        parts = (
            relevant_ranks(self.of(rows), query_ids[rows], candidate_ids)
            for rows in _blocks(len(self.queries), _AT_ONCE)
        )
        return Ranks(*map(np.concatenate, zip(*parts)))


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def best_candidates(similarities: Float[Array, "q c"], k: int) -> Int[Array, "q k"]:
    """Returns each query's k (or all) most similar candidates; equal ones in their order."""
    similarities = jnp.asarray(similarities)
    return jax.lax.top_k(similarities, min(k, similarities.shape[1]))[1]
