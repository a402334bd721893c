"""Retrieval metrics against hand-computed ranks, ties, chance and re-ranking."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.metrics.retrieval import (
    chance_recall,
    median_rank,
    published_recalls,
    published_rerank,
    recall_at_k,
    relevant_ranks,
    rerank,
    retrieval_report,
    uniter_recalls,
)

SCORES = np.array([[0.9, 0.1, 0.5, 0.3], [0.2, 0.4, 0.6, 0.8], [0.7, 0.6, 0.5, 0.4]])
RANKS = relevant_ranks(SCORES, [0, 1, 2], [0, 1, 2, 2])  # best ranks 1, 3, 3


def test_recall_and_median_rank_by_hand():
    assert recall_at_k(RANKS, (1, 2, 3)) == pytest.approx({1: 1 / 3, 2: 1 / 3, 3: 1.0})
    assert median_rank(RANKS) == 3.0


def test_ties_count_in_expectation():
    ranks = relevant_ranks(np.array([[1.0, 1.0, 0.0, 2.0]]), ["a"], list("abcd"))  # 2nd or 3rd
    assert recall_at_k(ranks, (1, 2, 3)) == pytest.approx({1: 0.0, 2: 0.5, 3: 1.0})
    assert median_rank(ranks) == pytest.approx(2.5)
    assert ranks.higher.tolist() == [1] and ranks.last.tolist() == [2]


@given(st.integers(2, 9), st.integers(1, 4), st.integers(1, 12))
def test_a_constant_score_reaches_exactly_chance(candidates, positives, k):
    positives = min(positives, candidates)
    ranks = relevant_ranks(np.zeros((1, candidates)), [1], np.arange(candidates) < positives)
    found = recall_at_k(ranks, (k,))[k]
    assert found == pytest.approx(chance_recall(candidates, positives, k))


def test_chance_equals_the_count_over_all_draws():
    draws = list(combinations(range(7), 3))
    hits = sum(any(c < 2 for c in draw) for draw in draws)
    assert chance_recall(7, 2, 3) == pytest.approx(hits / len(draws))
    assert chance_recall(512, 1, 1) == pytest.approx(1 / 512)
    assert chance_recall(4, 1, 10) == 1.0
    assert chance_recall(4, np.array([1, 3]), 1) == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32])
def test_order_of_candidates_does_not_matter(dtype):
    rng = np.random.default_rng()
    scores, ids = rng.integers(0, 4, (20, 15)).astype(dtype), rng.integers(0, 3, 15)
    queries = rng.choice(ids, 20)
    order = rng.permutation(15)
    shuffled = relevant_ranks(scores[:, order], queries, ids[order])
    for mine, other in zip(relevant_ranks(scores, queries, ids), shuffled):
        assert np.array_equal(mine, other)


def test_blocks_of_queries_agree_with_the_whole():
    rng = np.random.default_rng()
    scores, truth = rng.random((1100, 3)), rng.integers(0, 3, 1100)
    expected = (scores.argmax(1) == truth).mean()
    ranks = relevant_ranks(scores, truth, [0, 1, 2])
    assert recall_at_k(ranks, (1,))[1] == pytest.approx(expected)


def test_no_temporary_is_as_large_as_the_scores():
    scores = np.random.default_rng().random((4000, 2000), np.float32)
    ids = np.arange(4000) % 2000
    tracemalloc.start()
    published_recalls(scores.T, np.arange(2000), ids)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < scores.nbytes / 3


def sorted_as_published(scores, query_ids, candidate_ids, k):
    """Recall in percent from the sorted list, as the published loop finds it (no ties)."""
    order = np.argsort(-scores, axis=1)
    hits = np.asarray(candidate_ids)[order[:, :k]] == np.asarray(query_ids)[:, None]
    return 100 * hits.any(1).mean()


def test_published_recalls_of_several_captions_per_image():
    rng = np.random.default_rng()
    # Distinct also in float16, in which the published code of UNITER keeps them.
    sims, owners = rng.permutation(480).reshape(12, 40) / 512, np.sort(np.arange(40) % 12)
    table = published_recalls(sims, range(12), owners)
    for k in (1, 5, 10):
        assert table[f"txt_r{k}"] == pytest.approx(sorted_as_published(sims, range(12), owners, k))
        assert table[f"img_r{k}"] == pytest.approx(
            sorted_as_published(sims.T, owners, range(12), k)
        )
    assert table["r_mean"] == pytest.approx(np.mean([table["txt_r_mean"], table["img_r_mean"]]))
    fractions = uniter_recalls(sims, range(12), owners)
    assert fractions["txt_r5"] == pytest.approx(table["txt_r5"] / 100)


def test_equal_scores_lie_between_the_two_ends():
    rng = np.random.default_rng()
    sims, owners = rng.integers(0, 3, (12, 24)), np.arange(24) // 2
    lost = published_recalls(sims, range(12), owners)
    won = published_recalls(sims, range(12), owners, ties_won=True)
    ours = retrieval_report(sims, range(12), owners)
    for k in (1, 5, 10):
        for there, here in (("txt", "i2t"), ("img", "t2i")):
            assert (
                lost[f"{there}_r{k}"] <= 100 * ours[f"{here}_r{k}"] <= won[f"{there}_r{k}"] + 1e-9
            )


def test_uniter_counts_its_first_rows_again():
    table = uniter_recalls(np.eye(20), range(20), range(20))
    assert table["img_r1"] == pytest.approx(1 + 1 / 20) and table["txt_r1"] == 1.0
    assert table["img_r10"] == pytest.approx(1 + 10 / 20)


def test_re_ranking_as_published_agrees_up_to_k():
    rng = np.random.default_rng()
    sims, owners = rng.random((12, 40)), np.arange(40) % 12
    tables = []
    top = [np.argsort(-x, axis=1)[:, :10] for x in (sims, sims.T)]
    new = [rng.random(x.shape).astype(np.float32) for x in top]
    for make in (lambda x, *k: rerank(x, *k), lambda x, *k: published_rerank(x.shape, *k)):
        by_image, by_text = (make(x, t, n) for x, t, n in zip((sims, sims.T), top, new))
        tables.append(published_recalls(by_image, range(12), owners, text_scores=by_text))
    assert tables[0] == pytest.approx(tables[1])


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
        (lambda: relevant_ranks(SCORES, [1, 2], [1] * 4), r"query_ids has shape \[2\]"),
        (lambda: relevant_ranks(SCORES[0], [1], [1]), r"expected \[queries, candidates\]"),
        (lambda: relevant_ranks(SCORES, [1, 1, 2], [1] * 4), "query 2 has no relevant"),
        (lambda: relevant_ranks(SCORES[:0], [], [1] * 4), "no queries"),
        (lambda: relevant_ranks(SCORES * np.nan, [1] * 3, [1] * 4), "12 NaN"),
        (lambda: recall_at_k(RANKS, (0,)), "at least 1"),
        (lambda: uniter_recalls(SCORES, [1] * 3, [1] * 4), r"\[3, 4\], expected at least 10"),
        (lambda: published_rerank((3, 4), [[0, 9]] * 3, [[1, 2]] * 3), r"\[0, 4\)"),
        (lambda: chance_recall(3, 4, 1), "positives <= candidates"),
        (lambda: retrieval_report(SCORES, [1, 2], [1, 2, 3, 3]), r"image_ids has shape \[2\]"),
        (lambda: retrieval_report(SCORES, [1, 2, 3], [1, 2, 3, 9]), "query 3 has no relevant"),
        (lambda: rerank(SCORES, [[0, 0]] * 3, [[1, 2]] * 3), "twice"),
        (lambda: rerank(SCORES, [[0, 4]] * 3, [[1, 2]] * 3), r"\[0, 4\)"),
        (lambda: rerank(SCORES, [[0, 1]] * 3, [[1, np.inf]] * 3), "finite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
