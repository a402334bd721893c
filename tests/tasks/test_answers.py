"""Answers from a list: the loss of each form, several questions an image, and the evaluation."""

import cv2
import jax
import numpy as np
import pytest

from tests.model.tiny import random_batch, random_params, tiny_model
from tests.tasks.all_knowing import AllKnowing, Listed
from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.losses.answers import answer_loss
from vlp_jax.model import Views
from vlp_jax.tasks.answers import AnswerEvaluation, AnswerTask

LOGITS = np.array([[0.0, 1, -1]] * 2, np.float32)


@pytest.mark.parametrize("form", ["bce", "ce", "kl", "kl_unnormalised"])
def test_loss_and_accuracy(form):
    batch = {"answer_scores": np.array([[1, 0, 0.5], [0, 0.3, 0]], np.float32)}
    result = loss_of(AnswerTask(form=form), FakeViews(batch, vqa=LOGITS))
    exact = answer_loss(LOGITS, batch["answer_scores"], form)
    assert result.loss == pytest.approx(exact)
    assert result.metrics["vqa_accuracy"] == pytest.approx(0.15)


@pytest.mark.slow
def test_several_questions_an_image_are_as_many_examples():
    """K questions of one image against the same questions, each with a copy of the image."""
    model = tiny_model()
    params = random_params(model, np.random.default_rng(1))
    several = dict(random_batch(np.random.default_rng(2), size=3))
    rng = np.random.default_rng(3)
    count, length = 4, 5
    several["question_ids"] = rng.integers(1, 20, (3, count, length)).astype(np.int32)
    several["question_mask"] = np.arange(length) < rng.integers(1, length + 1, (3, count, 1))
    several["answer_scores"] = rng.random((3, count, 5)).astype(np.float32)
    names = ("question_ids", "question_mask", "answer_scores")
    each = {name: several[name].reshape(-1, *several[name].shape[2:]) for name in names}
    each["image"] = np.repeat(several["image"], count, axis=0)

    def loss(params, batch):
        return loss_of(AnswerTask(), Views(model, params, batch)).loss

    one, gradient = jax.jit(jax.value_and_grad(loss))(params, several)
    other, wanted = jax.jit(jax.value_and_grad(loss))(params, each)
    assert one == pytest.approx(float(other), rel=1e-6)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def outcome_of(evaluated, name, source=None, **settings):
    settings = {"limit": 16, "baseline_records": 32} | settings
    return AnswerEvaluation(**settings)(evaluated.run("vqa", source), name)


def test_the_evaluation(right, wrong):
    outcome = outcome_of(right, "scene_vqa")
    answers = len(right.experiment.vocabulary.answers)
    assert outcome.figures["scene_vqa_accuracy"] == 1.0
    assert outcome.figures["scene_vqa_chance"] == 1 / answers
    assert outcome_of(wrong, "scene_vqa").figures["scene_vqa_accuracy"] == 0.0
    assert [(e.score, e.prediction == e.answer) for e in outcome.answers] == [(1.0, True)] * 6
    kinds = {right.forward.model.records[i]["question_type"] for i in range(16)}
    assert outcome.failures[0].shares == {kind: 1.0 for kind in kinds}
    assert "Twemoji" in outcome.attribution[0]


def test_failures_are_beside_blind_guesses_and_say_what_is_confused(right, wrong):
    (failure,) = outcome_of(wrong, "vqa").failures
    assert failure.shares.keys() == failure.chances.keys()
    assert max(failure.shares.values()) == 0.0 < max(failure.chances.values()) <= 1.0
    assert sum(count for _, _, count in failure.confusions) <= 16
    assert all(truth != said and count > 0 for truth, said, count in failure.confusions)
    assert outcome_of(right, "vqa").failures[0].confusions == []
    assert outcome_of(wrong, "vqa").rows[0].interval == (0.0, 0.0)


def test_the_blind_answer_beats_chance_and_sees_no_picture(right):
    right.forward = AllKnowing(right.experiment, count=64)
    found = outcome_of(right, "vqa", limit=64, baseline_records=64).figures
    assert found["vqa_blind"] > 3 * found["vqa_chance"]
    assert found["vqa_blind"] < 1.0 and found["vqa_blind_name"]


def test_examples_show_pictures_given_as_files(right, tmp_path):
    source = right.forward.model.records
    records = []
    for number in range(16):
        path = str(tmp_path / f"{number}.png")
        cv2.imwrite(path, source[number]["image"][..., ::-1])
        records.append(source[number] | {"image": path})
    found = outcome_of(right, "vqa", Listed(records, source.provides)).answers
    assert len(found) == 6 and all(e.image.shape == (32, 32, 3) for e in found)


def test_records_that_cannot_be_used_are_left_out_and_counted(right):
    source = right.forward.model.records
    records = [source[i] for i in range(16)]
    records[2], records[5] = ValueError("damaged"), source[5] | {"question": "?"}
    run = right.run("vqa", Listed(records, source.provides))
    outcome = AnswerEvaluation(limit=16, baseline_records=16)(run, "vqa")
    assert outcome.figures["vqa_accuracy"] == 1.0
    assert outcome.rows[0].note.endswith("14 questions")
    assert sum(skipped.total for skipped in run._skipped.values()) == 2
