"""Tests of retrieval: recall, re-ranking, ranking by the matching head alone, and examples."""

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest

from tests.tasks.all_knowing import Listed, numbers, square_heat, words
from vlp_jax.data.sources import SOURCES
from vlp_jax.tasks import word_maps
from vlp_jax.tasks.retrieval import RetrievalEvaluation, RetrievalTask, encode_gallery


@pytest.fixture(autouse=True)
def heat(monkeypatch):
    monkeypatch.setattr(word_maps, "gradcam", square_heat)


def outcome_of(evaluated, name="retrieval", source=None, **settings):
    return RetrievalEvaluation(limit=16, **settings)(evaluated.run("retrieval", source), name)


def outcome_of_all(evaluated, source):
    evaluation = RetrievalEvaluation(limit=None, rerank=0, examples=0)
    return evaluation(evaluated.run("retrieval", source), "retrieval")


def figures(evaluated, name="retrieval", **settings):
    return outcome_of(evaluated, name, **settings).figures


def counts(right):
    """Returns how many captions each of the first images has."""
    return [len(right.forward.model.records[i]["captions"]) for i in range(16)]


def chance(right, direction, k):
    """Returns how likely one of the right ones is among k of all."""
    total, own = sum(counts(right)), counts(right)
    if direction == "t2i":
        return k / 16
    return np.mean([1 - math.comb(total - n, k) / math.comb(total, k) for n in own])


def test_a_model_that_knows(right):
    assert set(counts(right)) == {2, 4, 5}
    outcome = outcome_of(right, rerank=4)
    found = outcome.figures
    for direction in ("i2t", "t2i"):
        for suffix in ("", "_itm"):
            for k in (1, 5, 10):
                name = f"{direction}_r{k}{suffix}"
                assert found[name] == 1.0
                assert found[f"{name}_chance"] == pytest.approx(chance(right, direction, k))
            assert found[f"{direction}_median_rank{suffix}"] == 1.0
    assert outcome.rows[0].note.startswith(f"16 images, {sum(counts(right))} captions; ")


def test_of_an_image_the_first_captions_count(right):
    source = right.forward.model.records
    records = [source[i] | {"captions": [f"{i} a", "", f"{i} b", f"{i} c"]} for i in range(3)]
    listed = Listed(records, source.provides)
    for most, taken in ((1, 3), (2, 6), (5, 9)):
        run = right.run("retrieval", listed)
        run = dataclasses.replace(run, task=RetrievalTask(captions=most))
        gallery = encode_gallery(run, RetrievalEvaluation(limit=3))
        assert len(gallery.captions) == taken and gallery.left_out == 12 - taken
        assert gallery.captions[: min(most, 3)] == ["0 a", "0 b", "0 c"][:most]
        np.testing.assert_array_equal(gallery.owners, np.arange(3).repeat(min(most, 3)))
        np.testing.assert_array_equal(numbers(gallery.images), [0, 1, 2])


def test_a_list_with_an_entry_a_caption_is_measured_as_published(right, tmp_path, caplog):
    """Entries of one caption and entries of five are the same candidates, with the same figures."""
    names = [f"image {i} caption {c}" for i in range(20) for c in range(5)]
    rows = [{"image": f"{i // 5}.png", "caption": name} for i, name in enumerate(names)]
    whole = [{"image": f"{i}.png", "caption": names[5 * i : 5 * i + 5]} for i in range(20)]
    rows[7]["caption"] = whole[1]["caption"][2] = "\u200b"
    for i in range(20):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((9, 9, 3), np.uint8))
    rng, found = np.random.default_rng(5), []
    heads = right.forward.model.heads
    heads["itc"].image = lambda image: np.eye(20)[numbers(image)] + 0.5
    heads["itc"].text = lambda text: rng.random((len(text.mask), 20))
    for entries in (rows, whole):
        rng = np.random.default_rng(5)
        (tmp_path / "pairs.json").write_text(json.dumps(entries))
        source = SOURCES["json"](path=str(tmp_path / "pairs.json"), holdout=0)
        found.append(outcome_of_all(right, source))
    assert found[0].figures == found[1].figures and found[0].figures["i2t_r1"] < 1
    assert found[0].figures["t2i_r5_chance"] == pytest.approx(5 / 20)
    assert found[0].rows[0].note.startswith("20 images, 99 captions (1 left out); ")
    assert "1 captions are left out: beyond tasks.retrieval.captions" in caplog.text


def test_records_of_one_image_are_one_candidate(right):
    source = right.forward.model.records
    records = [source[0], source[1], source[0] | {"captions": ["a dog"]}, ValueError("damaged")]
    run = right.run("retrieval", Listed(records, source.provides))
    gallery = encode_gallery(run, RetrievalEvaluation())
    assert (
        gallery.size == 2
        and gallery.left_out == 0
        and gallery.captions.index("a dog") == len(source[0]["captions"])
    )
    np.testing.assert_array_equal(numbers(gallery.images), [0, 1])
    # Both evaluations read the same source, so a damaged record counts once.
    encode_gallery(run, RetrievalEvaluation())
    assert [skipped.total for skipped in run._skipped.values()] == [1]


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
    assert alone["t2i_r1_itm"] == pytest.approx(1 / 16)  # all tied
    assert added["i2t_r1_itm"] == added["t2i_r1_itm"] == 1.0


def test_each_pair_is_matched_once(right):
    head, seen = right.forward.model.heads["itm"], []
    match = head.of

    def counted(fused):
        seen.extend(zip(numbers(fused.image), map(tuple, words(fused.text))))
        return match(fused)

    head.of = counted
    figures(right)
    pairs = 16 * sum(counts(right))
    assert len(set(seen)) == pairs and len(seen) < pairs + 8 * 8  # the last batch is filled up


def test_without_a_matching_head(right):
    del right.forward.model.heads["itm"]
    outcome = outcome_of(right)
    assert outcome.figures["i2t_r1"] == 1.0 and not any("_itm" in n for n in outcome.figures)
    assert outcome.retrieval and outcome.heat_maps == []


def test_examples_and_heat_maps_for_the_report(right):
    outcome = outcome_of(right, examples=3)
    assert len(outcome.retrieval) == 6 and len(outcome.heat_maps) == 3
    assert [example.query_is_text for example in outcome.retrieval] == [True] * 3 + [False] * 3
    for example in outcome.retrieval:
        assert (example.rank, example.correct[0], len(example.candidates)) == (1, True, 5)
    heat = outcome.heat_maps[0]
    records = right.forward.model.records
    captions = [caption for i in range(16) for caption in records[i]["captions"]]
    assert list(heat.words) == right.run("retrieval").texts.caption(captions[1]).split()
    # Words stand at positions 1, 2, …; image tokens 1 to 4 are the patches, row by row.
    np.testing.assert_array_equal(heat.maps[0], [[1 + 1, 1 + 4], [1 + 9, 1 + 16]])
    assert heat.maps[2][0, 0] == 3 + 1
    assert [row.group for row in outcome.rows] == ["Retrieval"] * 12


def test_failures_and_intervals_for_the_report(right, wrong):
    assert outcome_of(right).failures == []
    assert {row.interval for row in outcome_of(right).rows} == {(1.0, 1.0)}
    outcome = outcome_of(wrong, examples=2)
    (failure,) = outcome.failures
    assert "16 of 16 images do not find a caption of theirs first and " in failure.note
    assert [example.correct[0] for example in failure.examples] == [False] * 4
    first = next(row for row in outcome.rows if "R@1" in row.metric)
    assert first.interval[0] <= first.model <= first.interval[1]


def test_a_word_of_several_pieces_has_the_mean_of_their_maps(right):
    """The fitted tokenizer does not know "xylo", and spells it."""
    assert len(right.experiment.vocabulary.tokenizer.piece_ids("xylo")) == 4
    source = right.forward.model.records
    record = source[0] | {"captions": ["a cat", "a xylo dog"]}
    changed = [record if i == 0 else source[i] for i in range(16)]
    listed = Listed(changed, source.provides)
    heat = outcome_of(right, source=listed, examples=1).heat_maps[0]
    assert list(heat.words) == ["a", "xylo", "dog"]
    assert [m[0, 0] - 1 for m in heat.maps] == [1, np.mean([2, 3, 4, 5]), 6]


def test_records_that_cannot_be_used_are_no_candidates(right):
    source = right.forward.model.records
    records = [source[i] for i in range(16)]
    records[3], records[9] = ValueError("damaged"), records[9] | {"captions": [""]}
    run = right.run("retrieval", Listed(records, source.provides))
    found = RetrievalEvaluation(limit=16)(run, "retrieval").figures
    assert found["i2t_r1"] == found["t2i_r1_itm"] == 1.0
    assert found["t2i_r1_chance"] == pytest.approx(1 / 14)
    assert [skipped.total for skipped in run._skipped.values()] == [2]


def test_other_names_prefix_their_figures(right):
    outcome = outcome_of(right, "novel")
    assert outcome.figures["novel_i2t_r1_itm"] == 1.0
    assert all(name.startswith("novel_") for name in outcome.figures)
    assert outcome.retrieval == [] and sum(row.headline for row in outcome.rows) == 2


def test_the_matching_head_alone_ranks_all_pairs(right, wrong):
    del right.forward.model.heads["itc"]
    best, worst = (figures(m, "matching", rank_by="matching") for m in (right, wrong))
    for direction in ("i2t", "t2i"):
        assert best[f"matching_{direction}_r1"] == best[f"matching_{direction}_r10"] == 1.0
        expected = chance(right, direction, 5)
        assert best[f"matching_{direction}_r5_chance"] == pytest.approx(expected)
        assert worst[f"matching_{direction}_r10"] == 0.0
