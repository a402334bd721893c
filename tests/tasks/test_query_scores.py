"""Tests of scores that are made some queries at a time, against the whole matrix in float64."""

import os

import numpy as np
import pytest

from vlp_jax.metrics.retrieval import relevant_ranks, rerank
from vlp_jax.tasks import query_scores
from vlp_jax.tasks.query_scores import QueryScores, best_candidates

RNG = np.random.default_rng(int(os.environ.get("TEST_SEED", 0)))
QUERIES, CANDIDATES = (RNG.standard_normal((n, 6)) for n in (23, 40))
WHOLE = QUERIES @ CANDIDATES.T
QUERY_IDS, CANDIDATE_IDS = np.arange(23), np.arange(40) % 23


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(query_scores, "_AT_ONCE", 5)
    monkeypatch.setattr(query_scores, "_PAIRS", 7)


def test_ranks_are_those_of_the_whole_matrix():
    found = QueryScores(QUERIES, CANDIDATES).ranks(QUERY_IDS, CANDIDATE_IDS)
    for ours, whole in zip(found, relevant_ranks(WHOLE, QUERY_IDS, CANDIDATE_IDS), strict=True):
        np.testing.assert_array_equal(ours, whole)


def test_the_best_are_scored_again():
    scores = QueryScores(QUERIES, CANDIDATES)
    best = scores.most_similar(4)
    np.testing.assert_array_equal(best, np.argsort(-WHOLE, axis=1)[:, :4])
    new = RNG.random(best.shape)
    again, whole = scores.scored_again(best, new), rerank(WHOLE, best, new)
    np.testing.assert_allclose(again.of(slice(None)), whole)
    np.testing.assert_allclose(again.of([3, 1]), whole[[3, 1]])
    ranks = again.ranks(QUERY_IDS, CANDIDATE_IDS)
    np.testing.assert_array_equal(
        ranks.higher, relevant_ranks(whole, QUERY_IDS, CANDIDATE_IDS).higher
    )


def test_pairs():
    queries, candidates = RNG.integers(0, 23, 30), RNG.integers(0, 40, 30)
    found = QueryScores(QUERIES, CANDIDATES).of_pairs(queries, candidates)
    np.testing.assert_allclose(found, WHOLE[queries, candidates])


def test_equal_candidates_stay_in_their_order():
    tied = np.array([[1.0, 2.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(best_candidates(tied, 3), [[1, 2, 0], [0, 1, 2]])
    assert best_candidates(tied, 9).shape == (2, 4)


def test_the_matrix_is_never_whole(monkeypatch):
    sizes, real = [], QueryScores.of
    monkeypatch.setattr(QueryScores, "of", lambda *x: sizes.append(real(*x).shape) or real(*x))
    scores = QueryScores(QUERIES, CANDIDATES)
    scores.ranks(QUERY_IDS, CANDIDATE_IDS)
    scores.most_similar(2)
    assert max(rows for rows, _ in sizes) == 5
