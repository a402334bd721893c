"""Tests of retrieval: recall, re-ranking, ranking by the matching head alone, and examples."""

import numpy as np
import pytest

from tests.tasks.all_knowing import Listed, numbers, square_heat, words
from vlp_jax.tasks import matching
from vlp_jax.tasks.retrieval import RetrievalEvaluation


@pytest.fixture(autouse=True)
def heat(monkeypatch):
    monkeypatch.setattr(matching, "match_heat", square_heat)


def outcome_of(evaluated, name="retrieval", source=None, **settings):
    return RetrievalEvaluation(limit=16, **settings)(evaluated.run("retrieval", source), name)


def figures(evaluated, name="retrieval", **settings):
    return outcome_of(evaluated, name, **settings).figures


def test_a_model_that_knows(right):
    found = figures(right, rerank=4)
    for direction in ("i2t", "t2i"):
        for suffix in ("", "_itm"):
            for k in (1, 5, 10):
                assert found[f"{direction}_r{k}{suffix}"] == 1.0
                assert found[f"{direction}_r{k}{suffix}_chance"] == pytest.approx(k / 16)
            assert found[f"{direction}_median_rank{suffix}"] == 1.0


def test_only_the_best_candidates_are_scored_again(right):
    """Contrastive scores put the right one last: matching sees it among 16, not among 4."""
    head = right.forward.model.heads["itc"]
    head.image = lambda images: -np.eye(16)[numbers(images)]
    few, all_of_them = figures(right, rerank=4), figures(right, rerank=99)
    assert few["i2t_r1"] == few["t2i_r10"] == all_of_them["i2t_r10"] == 0.0
    assert few["i2t_r1_itm"] == few["t2i_r10_itm"] == 0.0
    assert all_of_them["i2t_r1_itm"] == all_of_them["t2i_r1_itm"] == 1.0
    assert not any("_itm" in name for name in figures(right, rerank=0))


def test_the_contrastive_logit_can_be_added_to_the_match(right):
    """Where the matching head is undecided, the similarity decides."""
    right.forward.model.heads["itm"].of = lambda fused: np.zeros((len(fused.text.mask), 2))
    alone, added = figures(right), figures(right, similarity_weight=1.0)
    assert alone["i2t_r1_itm"] == pytest.approx(1 / 16)  # all tied
    assert added["i2t_r1_itm"] == added["t2i_r1_itm"] == 1.0


def test_each_pair_is_matched_once(right):
    head, seen = right.forward.model.heads["itm"], []
    match = head.of

    def counted(fused):
        seen.extend(zip(numbers(fused.image), map(tuple, words(fused.text))))
        return match(fused)

    head.of = counted
    figures(right)
    assert len(set(seen)) == 16 * 16 and len(seen) < 16 * 16 + 8 * 8  # the last batch is filled up


def test_without_a_matching_head(right):
    del right.forward.model.heads["itm"]
    outcome = outcome_of(right)
    assert outcome.figures["i2t_r1"] == 1.0 and not any("_itm" in n for n in outcome.figures)
    assert outcome.retrieval and outcome.heat_maps == []


def test_examples_and_heat_maps_for_the_report(right):
    outcome = outcome_of(right, examples=3)
    assert len(outcome.retrieval) == 6 and len(outcome.heat_maps) == 3
    by_text, by_image = outcome.retrieval[:2]
    assert by_text.query_is_text and not by_image.query_is_text
    for example in outcome.retrieval:
        assert (example.rank, example.correct[0], len(example.candidates)) == (1, True, 5)
    heat = outcome.heat_maps[0]
    assert heat.words == right.forward.model.records[1]["captions"][0].split()
    # Words stand at positions 1, 2, …; image tokens 1 to 4 are the patches, row by row.
    np.testing.assert_array_equal(heat.maps[0], [[1 + 1, 1 + 4], [1 + 9, 1 + 16]])
    assert heat.maps[2][0, 0] == 3 + 1
    assert [row.group for row in outcome.rows] == ["Retrieval"] * 12


def test_a_word_of_several_pieces_has_the_mean_of_their_maps(right):
    """The fitted tokenizer does not know "xylo", and spells it."""
    assert len(right.experiment.vocabulary.tokenizer.piece_ids("xylo")) == 4
    source = right.forward.model.records
    record = source[1] | {"captions": ["a xylo dog"]}
    changed = [record if i == 1 else source[i] for i in range(16)]
    listed = Listed(changed, source.provides)
    heat = outcome_of(right, source=listed, examples=1).heat_maps[0]
    assert heat.words == ["a", "xylo", "dog"]
    assert [m[0, 0] - 1 for m in heat.maps] == [1, np.mean([2, 3, 4, 5]), 6]


def test_records_that_cannot_be_used_are_no_candidates(right):
    source = right.forward.model.records
    records = [source[i] for i in range(16)]
    records[3], records[9] = ValueError("damaged"), records[9] | {"captions": [""]}
    run = right.run("retrieval", Listed(records, source.provides))
    found = RetrievalEvaluation(limit=16)(run, "retrieval").figures
    assert found["i2t_r1"] == found["t2i_r1_itm"] == 1.0
    assert found["i2t_r1_chance"] == pytest.approx(1 / 14)
    assert [skipped.total for skipped in run._skipped.values()] == [2]


def test_other_names_prefix_their_figures(right):
    outcome = outcome_of(right, "novel")
    assert outcome.figures["novel_i2t_r1_itm"] == 1.0
    assert all(name.startswith("novel_") for name in outcome.figures)
    assert outcome.retrieval == [] and not any(row.headline for row in outcome.rows)


def test_the_matching_head_alone_ranks_all_pairs(right, wrong):
    del right.forward.model.heads["itc"]
    best, worst = (figures(m, "matching", rank_by="matching") for m in (right, wrong))
    for direction in ("i2t", "t2i"):
        assert best[f"matching_{direction}_r1"] == best[f"matching_{direction}_r10"] == 1.0
        assert best[f"matching_{direction}_r5_chance"] == pytest.approx(5 / 16)
        assert worst[f"matching_{direction}_r10"] == 0.0
