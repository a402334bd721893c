"""Tests of the evaluation tasks, of choosing them, and of the report of a run."""

import dataclasses
import json
import logging
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.evaluation.all_knowing import AllKnowing, context_of
from tests.training.tiny import tiny, write_pairs
from vlp_jax.evaluation.context import Context, Outcome
from vlp_jax.evaluation.evaluate import _cannot_run, build_tasks, evaluate
from vlp_jax.evaluation.matching_task import MatchingTask
from vlp_jax.evaluation.retrieval_task import RetrievalTask
from vlp_jax.evaluation.text_tasks import AnswerTask, MaskedTextTask, NearMissTask
from vlp_jax.report.page import write_report
from vlp_jax.report.run import learning_curves, make_report
from vlp_jax.training.experiment import assemble


@pytest.fixture(scope="module")
def experiment():
    """Room for whole captions, so that a near-miss is never cut to the words of the truth."""
    return assemble(tiny(data__text_length=48))


@pytest.fixture(scope="module")
def right(experiment):
    return context_of(experiment)


@pytest.fixture(scope="module")
def wrong(experiment):
    return context_of(experiment, sign=-1.0)


def figures(task, context, name: str) -> dict:
    return task(context, name).figures


def test_retrieval_of_a_model_that_knows(right):
    found = figures(RetrievalTask(limit=16, rerank=4), right, "retrieval")
    for direction in ("i2t", "t2i"):
        for suffix in ("", "_itm"):
            for k in (1, 5, 10):
                assert found[f"{direction}_r{k}{suffix}"] == 1.0
                assert found[f"{direction}_r{k}{suffix}_chance"] == pytest.approx(k / 16)
            assert found[f"{direction}_median_rank{suffix}"] == 1.0


def test_only_the_best_candidates_are_scored_again(experiment, right):
    """Contrastive scores put the right one last: matching sees it among 16, not among 4."""
    bound = AllKnowing(experiment.config, experiment.vocabulary)
    bound.image_vectors = lambda images: -np.eye(16)[bound._numbers(images)]
    context = dataclasses.replace(right, bound=bound)
    few = figures(RetrievalTask(limit=16, rerank=4), context, "retrieval")
    all_of_them = figures(RetrievalTask(limit=16, rerank=99), context, "retrieval")
    assert few["i2t_r1"] == few["t2i_r10"] == all_of_them["i2t_r10"] == 0.0
    assert few["i2t_r1_itm"] == few["t2i_r10_itm"] == 0.0
    assert all_of_them["i2t_r1_itm"] == all_of_them["t2i_r1_itm"] == 1.0


def test_the_contrastive_logit_can_be_added_to_the_match(experiment, right):
    """Where the matching head is undecided, the similarity decides."""
    bound = AllKnowing(experiment.config, experiment.vocabulary)
    bound.match = lambda texts, images: np.zeros(len(texts.mask))
    context = dataclasses.replace(right, bound=bound)
    alone = figures(RetrievalTask(limit=16), context, "retrieval")
    added = figures(RetrievalTask(limit=16, similarity_weight=1.0), context, "retrieval")
    assert alone["i2t_r1_itm"] == pytest.approx(1 / 16)  # all tied
    assert added["i2t_r1_itm"] == added["t2i_r1_itm"] == 1.0


def test_each_pair_is_matched_once(experiment, right):
    bound = AllKnowing(experiment.config, experiment.vocabulary)
    seen, match = [], bound.match

    def counted(texts, images):
        seen.extend(zip(bound._numbers(images), map(tuple, bound._words(texts))))
        return match(texts, images)

    bound.match = counted
    figures(RetrievalTask(limit=16), dataclasses.replace(right, bound=bound), "retrieval")
    assert len(set(seen)) == 16 * 16 and len(seen) < 16 * 16 + 8 * 8  # the last batch is filled up


def test_retrieval_without_a_matching_head(experiment, right):
    bound = AllKnowing(experiment.config, experiment.vocabulary)
    del bound.model.heads["itm"]
    outcome = RetrievalTask(limit=16)(dataclasses.replace(right, bound=bound), "retrieval")
    assert outcome.figures["i2t_r1"] == 1.0 and not any("_itm" in n for n in outcome.figures)
    assert outcome.retrieval and outcome.heat_maps == []


def test_examples_and_heat_maps_for_the_report(right):
    outcome = RetrievalTask(limit=16, examples=3)(right, "retrieval")
    assert len(outcome.retrieval) == 6 and len(outcome.heat_maps) == 3
    by_text, by_image = outcome.retrieval[:2]
    assert by_text.query_is_text and not by_image.query_is_text
    for example in outcome.retrieval:
        assert (example.rank, example.correct[0], len(example.candidates)) == (1, True, 5)
    heat = outcome.heat_maps[0]
    caption = right.source("", "test")[1]["captions"][0]
    assert heat.words == caption.split()
    # Words stand at positions 1, 2, …; image tokens 1 to 4 are the patches, row by row.
    np.testing.assert_array_equal(heat.maps[0], [[1 + 1, 1 + 4], [1 + 9, 1 + 16]])
    assert heat.maps[2][0, 0] == 3 + 1
    assert [row.group for row in outcome.rows] == ["Retrieval"] * 12


def test_a_word_of_several_pieces_has_the_mean_of_their_maps(right):
    """The fitted tokenizer does not know "xylo", and spells it."""
    assert len(right.vocabulary.tokenizer.piece_ids("xylo")) == 4
    source = right.source("", "test")
    record = source[1] | {"captions": ["a xylo dog"]}
    changed = [record if i == 1 else source[i] for i in range(16)]
    context = reading(right, Listed(changed, source.provides))
    heat = RetrievalTask(limit=16, examples=1)(context, "retrieval").heat_maps[0]
    assert heat.words == ["a", "xylo", "dog"]
    assert [m[0, 0] - 1 for m in heat.maps] == [1, np.mean([2, 3, 4, 5]), 6]


class Listed(list):
    """Records as a source."""

    attribution = "mine"

    def __init__(self, records, provides):
        super().__init__(records)
        self.provides = provides


def reading(context: Context, source) -> Context:
    """Returns the context with another test split."""
    opened = {("emoji_scenes", "test"): source}
    return dataclasses.replace(context, _opened=opened, _skipped={})


def test_other_names_prefix_their_figures(right):
    outcome = RetrievalTask(limit=16)(right, "novel")
    assert outcome.figures["novel_i2t_r1_itm"] == 1.0
    assert all(name.startswith("novel_") for name in outcome.figures)
    assert outcome.retrieval == [] and not any(row.headline for row in outcome.rows)


@pytest.mark.parametrize(("sign", "accuracy"), [(1.0, 1.0), (-1.0, 0.0), (0.0, 0.5)])
def test_near_misses(experiment, sign, accuracy):
    outcome = NearMissTask(limit=16)(context_of(experiment, sign=sign), "near_miss")
    found = outcome.figures
    assert found["near_miss_accuracy"] == accuracy
    assert found["near_miss_chance"] == 0.5
    assert 0 <= found["near_miss_blind"] <= 1 and found["near_miss_blind_name"]
    examples = outcome.failures[0].examples
    assert len(examples) == (0 if sign == 1 else 3)
    for example in examples:
        assert example.image.shape == (32, 32, 3)


def test_near_misses_of_a_source_without_them(right):
    records = [{k: v for k, v in r.items() if k != "near_misses"} for r in right.bound.records]
    context = reading(right, Listed(records, right.bound.records.provides))
    assert NearMissTask(limit=8)(context, "near_miss") == Outcome()


def test_answer_examples_show_pictures_given_as_files(right, tmp_path):
    records = []
    for number in range(16):
        record = dict(right.bound.records[number])
        record["image"] = write_picture(tmp_path / f"{number}.png", record["image"])
        records.append(record)
    context = reading(right, Listed(records, right.bound.records.provides))
    found = AnswerTask(limit=16, baseline_records=16)(context, "scene_vqa").answers
    assert len(found) == 6 and all(e.image.shape == (32, 32, 3) for e in found)


def write_picture(path: Path, pixels: np.ndarray) -> str:
    cv2.imwrite(str(path), pixels[..., ::-1])
    return str(path)


def test_answers(right, wrong):
    task = AnswerTask(limit=16, baseline_records=32)
    outcome = task(right, "scene_vqa")
    answers = len(right.vocabulary.answers)
    assert outcome.figures["scene_vqa_accuracy"] == 1.0
    assert outcome.figures["scene_vqa_chance"] == 1 / answers
    assert figures(task, wrong, "scene_vqa")["scene_vqa_accuracy"] == 0.0
    assert [(e.score, e.prediction == e.answer) for e in outcome.answers] == [(1.0, True)] * 6
    kinds = {right.source("", "test")[i]["question_type"] for i in range(16)}
    assert outcome.failures[0].shares == {kind: 1.0 for kind in kinds}
    assert "Twemoji" in outcome.attribution[0]


def test_the_blind_answer_beats_chance_and_sees_no_picture(right):
    found = figures(AnswerTask(limit=64, baseline_records=64), context_of_all(right), "vqa")
    assert found["vqa_blind"] > 3 * found["vqa_chance"]
    assert found["vqa_blind"] < 1.0 and found["vqa_blind_name"]


def context_of_all(context):
    bound = AllKnowing(context.config, context.vocabulary, count=64)
    return dataclasses.replace(context, bound=bound)


def test_masked_words(right, wrong):
    task = MaskedTextTask(limit=16, baseline_records=64)
    found = figures(task, right, "mlm")
    assert found["mlm_accuracy"] == 1.0
    assert found["mlm_chance"] == 1 / right.vocabulary.tokenizer.size
    assert found["mlm_chance"] < found["mlm_blind"] < 1.0
    assert figures(task, wrong, "mlm")["mlm_accuracy"] == 0.0


def test_all_tasks_of_the_experiment(experiment, right):
    outcome = evaluate(experiment.config, experiment.vocabulary, right.bound)
    names = {"i2t_r1", "t2i_r10_itm", "near_miss_accuracy", "vqa_accuracy", "mlm_accuracy"}
    assert {name for name in names if outcome.figures[name] == 1.0} == names
    assert outcome.figures["skipped_records"] == 0
    groups = [row.group for row in outcome.rows]
    assert groups == ["Retrieval"] * 12 + ["Composition", "Question answering", "Language"]
    chosen = evaluate(experiment.config, experiment.vocabulary, right.bound, ("mlm",))
    assert set(chosen.figures) == {
        "mlm_accuracy", "mlm_chance", "mlm_blind", "mlm_blind_name", "skipped_records",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"retreival": {}}, 'tasks.retreival: unknown evaluation task .* Did you mean "retrieval"'),
        ({"mlm": {"limits": 3}}, r'tasks.mlm.limits: no such field. Did you mean "limit"'),
        ({"novel": {"kind": "vqaa"}}, r'tasks.novel: unknown evaluation task .* "vqa"'),
    ],
)
def test_mistakes_in_tasks_are_named(tasks, message):
    with pytest.raises(ValueError, match="config.evaluation." + message):
        build_tasks(tiny(evaluation__tasks=tasks))


def test_tasks_that_cannot_run_are_left_out_with_the_reason(experiment, right, caplog):
    tasks = {
        "mlm": {"limit": 16, "baseline_records": 16},
        "vqa": {"limit": 16},
        "easy_vqa": {"kind": "vqa", "source": "easy_vqa"},
    }
    bound = AllKnowing(experiment.config, experiment.vocabulary)
    del bound.model.heads["vqa"]
    config = dataclasses.replace(
        experiment.config,
        evaluation=dataclasses.replace(experiment.config.evaluation, tasks=tasks),
    )
    with caplog.at_level(logging.WARNING):
        outcome = evaluate(config, experiment.vocabulary, bound)
    assert "mlm_accuracy" in outcome.figures and "vqa_accuracy" not in outcome.figures
    assert 'task easy_vqa is left out: its source "easy_vqa" is not in config' in caplog.text
    assert "task vqa is left out: the model has no head vqa" in caplog.text


@pytest.fixture
def broken_pairs(tmp_path):
    """An experiment on captioned pictures; one for training and two for testing are corrupt."""
    for name, bad in (("train", ["3"]), ("test", ["3", "5"])):
        (tmp_path / name).mkdir()
        write_pairs(tmp_path / name)
        for stem in bad:
            (tmp_path / name / f"{stem}.png").write_bytes(b"no picture")
    paths = {"validation_path": str(tmp_path / "test" / "pairs.json")}
    overrides = dict(data__source_args={"json": paths}, data__source="json")
    return assemble(tiny(data__path=str(tmp_path / "train" / "pairs.json"), **overrides))


class OfPairs(AllKnowing):
    """All-knowing about pictures with captions; the grey of a picture is ten times its number."""

    def __init__(self, config, vocabulary):
        super().__init__(config, vocabulary, count=3)

    def image_vectors(self, images):
        return np.eye(64)[self._numbers(images) % 64]

    def text_vectors(self, texts):
        return np.ones((len(texts.mask), 64)) / 8


def test_unusable_pictures_are_left_out_and_counted(broken_pairs, caplog):
    config, vocabulary = broken_pairs.config, broken_pairs.vocabulary
    bound = OfPairs(config, vocabulary)
    bound.match = lambda texts, images: np.zeros(len(texts.mask))
    with caplog.at_level(logging.WARNING):
        outcome = evaluate(config, vocabulary, bound, ("retrieval", "vqa"))
    assert outcome.figures["skipped_records"] == 2
    # Of 16 pictures the two are missing: 14 candidates.
    assert outcome.figures["i2t_r1_chance"] == pytest.approx(1 / 14)
    assert "task vqa is left out: its source gives no question" in caplog.text


def test_records_of_two_splits_are_counted_apart(broken_pairs):
    """Number 3 is corrupt in both."""
    config = broken_pairs.config
    context = Context(config, broken_pairs.vocabulary, bound=None)
    for _ in range(2):
        for split in ("train", "test"):
            batches = list(context.batches(context.source("", split), None))
    assert context.skipped_total == 3
    assert sum(batch["example_mask"].sum() for batch in batches) == 22


def test_a_split_is_opened_once(right):
    assert right.source("", "test") is right.source("emoji_scenes", "test")
    assert right.source("", "train") is not right.source("", "test")


def test_learning_curves_leave_gaps_and_half_lines_out(tmp_path):
    rows = [
        {"step": 2, "itc_loss": 3.0, "itm_accuracy": 0.5},
        {"step": 2, "evaluation/i2t_r1": 0.1},
        {"step": 4, "itc_loss": None, "itm_accuracy": 0.75},
        {"step": 6, "itc_loss": 1.0},
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 8, "itc_lo')
    curves = learning_curves(tmp_path)
    loss, accuracy = curves["Contrastive loss (ITC)"], curves["Matching accuracy"]
    assert (loss.steps, loss.values, loss.percent) == ([2, 6], [3.0, 1.0], False)
    assert (accuracy.steps, accuracy.values, accuracy.percent) == ([2, 4], [0.5, 0.75], True)
    assert learning_curves(tmp_path / "nothing") == {}


def test_the_report_of_a_run(experiment, right, tmp_path):
    (tmp_path / "config.json").write_text('{"name": "tiny"}')
    outcome = evaluate(experiment.config, experiment.vocabulary, right.bound)
    timing = {"seconds": 90.0, "data_wait_share": 0.034, "warnings": ["mlm was nan"]}
    params = {"a": np.zeros((1000, 500)), "b": np.zeros(1000)}
    outcome.figures["skipped_records"] = 7
    report = make_report(tmp_path, experiment.config, outcome, params, timing)
    assert report.facts == {
        "Model": "vit + bert + cross_attention, 0.5 M parameters",
        "Objectives": "itc, itm, mlm, vqa",
        "Data": "emoji_scenes",
        "Steps": "6 × 8 examples",
        "Time": "1.5 min, installation not counted",
        "Waiting for data": "3.4% of stepping time",
        "Records skipped": "7",
    }
    write_report(tmp_path / "report.html", report)
    page = (tmp_path / "report.html").read_text()
    for text in ("Image → text R@1, re-ranked (test)", "mlm was nan", "Twemoji", "0.5 M param"):
        assert text in page
    assert "http://" not in page.replace("http://www.w3.org", "")  # nothing is fetched


def test_matching_ranks_all_pairs_by_the_matching_head(right, wrong):
    best, worst = (figures(MatchingTask(limit=16), c, "matching") for c in (right, wrong))
    for direction in ("i2t", "t2i"):
        assert best[f"matching_{direction}_r1"] == best[f"matching_{direction}_r10"] == 1.0
        assert best[f"matching_{direction}_r5_chance"] == pytest.approx(5 / 16)
        assert worst[f"matching_{direction}_r10"] == 0.0


def test_a_task_about_regions_needs_a_picture_or_features(right):
    lacking = SimpleNamespace(provides=frozenset({"caption", "question"}))
    context = dataclasses.replace(right, _opened={("emoji_scenes", "test"): lacking})
    assert _cannot_run(context, MatchingTask()) == "its source gives no image or region_features"
    lacking.provides |= {"region_features"}
    for task in (MatchingTask(), AnswerTask(), MaskedTextTask()):
        assert _cannot_run(context, task) is None
    assert _cannot_run(context, RetrievalTask()) == "its source gives no image"
