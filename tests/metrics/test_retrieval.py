"""Retrieval metrics against hand-computed ranks, ties, chance and re-ranking."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.metrics.retrieval import (
    chance_recall,
    median_rank,
    recall_at_k,
    rerank,
    retrieval_report,
)

SCORES = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.4, 0.6, 0.8], [0.7, 0.6, 0.5, 0.4]])
POSITIVES = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]], bool)  # best ranks 1, 3, 3


def test_recall_and_median_rank_by_hand():
    assert recall_at_k(SCORES, POSITIVES, (1, 2, 3)) == pytest.approx({1: 1 / 3, 2: 1 / 3, 3: 1.0})
    assert median_rank(SCORES, POSITIVES) == 3.0


def test_ties_count_in_expectation():
    scores = np.array([[1.0, 1.0, 0.0, 2.0]])
    positives = np.array([[True, False, False, False]])  # rank 2 or 3, equally likely
    assert recall_at_k(scores, positives, (1, 2, 3)) == pytest.approx({1: 0.0, 2: 0.5, 3: 1.0})
    assert median_rank(scores, positives) == pytest.approx(2.5)


@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 12))
def test_a_constant_score_reaches_exactly_chance(candidates, positives, k):
    positives = min(positives, candidates)
    truth = np.zeros((1, candidates), bool)
    truth[0, :positives] = True
    found = recall_at_k(np.zeros((1, candidates)), truth, (k,))[k]
    assert found == pytest.approx(chance_recall(candidates, positives, k))


def test_chance_equals_the_count_over_all_draws():
    draws = list(combinations(range(7), 3))
    hits = sum(any(c < 2 for c in draw) for draw in draws)
    assert chance_recall(7, 2, 3) == pytest.approx(hits / len(draws))
    assert chance_recall(512, 1, 1) == pytest.approx(1 / 512)
    assert chance_recall(4, 1, 10) == 1.0
    assert chance_recall(4, np.array([1, 3]), 1) == pytest.approx(0.5)


def test_order_of_candidates_does_not_matter():
    rng = np.random.default_rng()
    scores, positives = rng.integers(0, 4, (20, 15)), rng.random((20, 15)) < 0.2
    positives[:, 0] = True
    order = rng.permutation(15)
    shuffled = recall_at_k(scores[:, order], positives[:, order])
    assert shuffled == pytest.approx(recall_at_k(scores, positives))


def test_blocks_of_queries_agree_with_the_whole():
    rng = np.random.default_rng()
    scores, truth = rng.random((1100, 3)), rng.integers(0, 3, 1100)
    expected = (scores.argmax(1) == truth).mean()
    assert recall_at_k(scores, np.eye(3, dtype=bool)[truth], (1,))[1] == pytest.approx(expected)


def test_report_names_and_figures():
    sims = np.array([[0.9, 0.8, 0.1, 0.2], [0.95, 0.1, 0.3, 0.4]])
    report = retrieval_report(sims, [7, 8], [7, 7, 8, 8], ks=(1, 2))
    assert report["i2t_r1"] == 0.5 and report["i2t_r2"] == 1.0
    assert report["t2i_r1"] == 0.75 and report["t2i_r2"] == 1.0
    assert report["i2t_r1_chance"] == 0.5 and report["t2i_r1_chance"] == 0.5
    assert report["i2t_r2_chance"] == pytest.approx(5 / 6)
    assert report["i2t_median_rank"] == 1.5 and report["t2i_median_rank"] == 1.0
    assert report["i2t_median_rank_chance"] == pytest.approx(5 / 3)


def test_report_takes_re_ranked_texts_apart():
    sims = np.eye(3)
    report = retrieval_report(sims, range(3), range(3), text_scores=-sims, suffix="_itm", ks=(1,))
    assert report["i2t_r1_itm"] == 1.0 and report["t2i_r1_itm"] == 0.0
    assert report["t2i_r1_itm_chance"] == pytest.approx(1 / 3)


def test_re_ranked_candidates_stand_above_all_others():
    final = rerank([[5.0, 4.0, 3.0, 2.0]], [[2, 0]], [[-7.0, -9.0]])
    assert np.argsort(-final[0]).tolist() == [2, 0, 1, 3]
    assert final[0, [2, 0]].tolist() == [-7.0, -9.0]


def test_re_ranking_keeps_the_order_of_the_rest():
    rng = np.random.default_rng()
    scores, new = rng.standard_normal((6, 12)), rng.standard_normal((6, 4)) * 1e3
    top = np.argsort(-scores, axis=1)[:, :4]
    final = rerank(scores, top, new)
    order = np.argsort(-final, axis=1)
    assert np.array_equal(order[:, 4:], np.argsort(-scores, axis=1)[:, 4:])
    assert np.array_equal(order[:, :4], np.take_along_axis(top, np.argsort(-new, axis=1), axis=1))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: recall_at_k(SCORES, POSITIVES[:2]), r"shape \[2, 4\], expected \[3, 4\]"),
        (lambda: recall_at_k(SCORES[0], POSITIVES[0]), r"expected \[queries, candidates\]"),
        (lambda: recall_at_k(SCORES, POSITIVES.astype(int)), "dtype int64, expected bool"),
        (lambda: recall_at_k(SCORES, POSITIVES & False), "query 0 has no positive"),
        (lambda: recall_at_k(SCORES[:0], POSITIVES[:0]), "no queries"),
        (lambda: recall_at_k(SCORES * np.nan, POSITIVES), "12 NaN"),
        (lambda: recall_at_k(SCORES, POSITIVES, (0,)), "at least 1"),
        (lambda: chance_recall(3, 4, 1), "positives <= candidates"),
        (lambda: retrieval_report(SCORES, [1, 2], [1, 2, 3, 3]), r"image_ids has shape \[2\]"),
        (lambda: retrieval_report(SCORES, [1, 2, 3], [1, 2, 3, 9]), "query 3 has no positive"),
        (lambda: rerank(SCORES, [[0, 0]] * 3, [[1, 2]] * 3), "twice"),
        (lambda: rerank(SCORES, [[0, 4]] * 3, [[1, 2]] * 3), r"\[0, 4\)"),
        (lambda: rerank(SCORES, [[0, 1]] * 3, [[1, np.inf]] * 3), "finite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
