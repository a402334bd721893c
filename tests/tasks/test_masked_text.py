"""Tests of masked words: values computed by hand, distillation, no masked word; the evaluation."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.all_knowing import Listed
from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.tasks.masked_text import MaskedTextEvaluation, MaskedTextTask

# Word logits [B, L, V]; the fake model takes states for logits.
LOGITS = np.array([[[0.0, 0, 0], [1, 0, 0]], [[0, 2, 0], [0, 0, 9]]], np.float32)
LABELS = [[-100, 0], [0, -100]]
HARD = (math.log(math.e + 2) - 1 + math.log(2 + math.e**2)) / 2


def views(labels=LABELS, states=LOGITS):
    return FakeViews({"mlm_labels": np.array(labels, np.int32)}, states=jnp.asarray(states))


def test_only_masked_words_count():
    result = loss_of(MaskedTextTask(), views())
    assert result.loss == pytest.approx(HARD, rel=1e-6)
    assert result.metrics == {"mlm_accuracy": 0.5}


def test_the_mean_is_over_all_masked_words_not_over_texts():
    result = loss_of(MaskedTextTask(), views([[0, 0], [0, -100]]))
    assert result.loss == pytest.approx((2 * HARD + math.log(3)) / 3, rel=1e-6)
    assert result.metrics["mlm_accuracy"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("ramp", [0.0, 0.5, 1.0])
def test_distillation(alpha, ramp):
    taught = views(states=np.log(np.broadcast_to([0.5, 0.25, 0.25], (2, 2, 3))))
    result = loss_of(MaskedTextTask(alpha=alpha), views(), taught, ramp=ramp)
    first = math.log(math.e + 2) - 0.5
    second = math.log(2 + math.e**2) - 0.25 * 2
    soft, share = (first + second) / 2, alpha * ramp
    assert result.loss == pytest.approx((1 - share) * HARD + share * soft, rel=1e-6)


@pytest.mark.parametrize("teacher", [None, views(np.full((2, 2), -100))])
def test_no_masked_word_gives_zero(teacher):
    def loss(states):
        own = views(np.full((2, 2), -100), states)
        return loss_of(MaskedTextTask(), own, teacher).loss

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(LOGITS))
    assert value == 0 and not gradient.any()
    own = views(np.full((2, 2), -100))
    assert loss_of(MaskedTextTask(), own, teacher).metrics["mlm_accuracy"] == 0


def test_the_teacher_gets_no_gradient():
    def loss(states):
        return loss_of(MaskedTextTask(alpha=1.0), views(), views(states=states)).loss

    assert not jax.grad(loss)(jnp.asarray(LOGITS)).any()


def figures(evaluated, source=None, **settings):
    settings = {"limit": 16, "baseline_records": 64} | settings
    return MaskedTextEvaluation(**settings)(evaluated.run("mlm", source), "mlm").figures


def test_the_evaluation(right, wrong):
    found = figures(right)
    assert found["mlm_accuracy"] == 1.0
    assert found["mlm_chance"] == 1 / right.experiment.vocabulary.tokenizer.size
    assert found["mlm_chance"] < found["mlm_blind"] < 1.0
    assert figures(wrong)["mlm_accuracy"] == 0.0


def test_masked_words_have_an_interval(right, wrong):
    row = lambda model: MaskedTextEvaluation(limit=16)(model.run("mlm", None), "mlm").rows[0]
    assert row(right).interval == (1.0, 1.0) and row(wrong).interval == (0.0, 0.0)


def test_one_empty_caption_ends_no_evaluation(right):
    source = right.forward.model.records
    records = [source[i] for i in range(16)]
    records[2], records[5] = ValueError("damaged"), source[5] | {"captions": [""]}
    found = figures(right, Listed(records, source.provides))
    assert found["mlm_accuracy"] == 1.0 and 0 < found["mlm_blind"] < 1


def test_masks_of_an_evaluation_are_the_same_each_time(right):
    """What a model half knows scores the same twice."""
    head = right.forward.model.heads["mlm"]
    know = head.of
    head.of = lambda fused: know(fused) * (np.arange(fused.text.mask.shape[1]) < 5)[:, None]
    first = figures(right)["mlm_accuracy"]
    assert 0 < first < 1 and figures(right)["mlm_accuracy"] == first
