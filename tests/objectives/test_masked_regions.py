"""Losses of hidden regions: literal values, each model's denominator, and empty batches."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.objectives.fakes import FakeViews
from vlp_jax.losses.regions import best_class, class_losses, feature_losses, smooth_l1
from vlp_jax.objectives.masked_regions import (
    RegionClassObjective,
    RegionFeatureObjective,
    region_output,
)

ONE = jnp.ones(())
# Softmax shares of 1/4, 1/4, 1/2.
LOGITS = np.log(np.array([[1.0, 1.0, 2.0]], np.float32))
BATCH = {
    "region_mask": [[True, True, False]],
    "region_hidden": [[True, False, True]],
    "region_targets": [[[1.0, 1.0], [5, 5], [9, 9]]],
    "region_class_scores": [[[0.0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]]],
}


def test_smooth_l1_is_square_near_zero_and_straight_beyond():
    values = smooth_l1(jnp.array([0.0, 0.5, -0.5, 1.0, -3.0]))
    np.testing.assert_allclose(values, [0, 0.125, 0.125, 0.5, 2.5])


@pytest.mark.parametrize("form, expected", [("l2", 4.25 / 2), ("smooth_l1", 1.625 / 2)])
def test_features_are_averaged_over_their_numbers(form, expected):
    losses = feature_losses(np.array([[3.0, 0.5]]), np.array([[1.0, 1.0]]), form)
    np.testing.assert_allclose(losses, [expected])


@pytest.mark.parametrize(
    "form, expected",
    [
        # 0.5·log(0.5/0.25) + 0.5·log(0.5/0.5)
        ("kl_sum", 0.5 * math.log(2)),
        ("kl_mean", 0.5 * math.log(2) / 3),
        ("ce", math.log(4)),
    ],
)
def test_classes_against_soft_labels(form, expected):
    losses = class_losses(LOGITS, np.array([[0.0, 0.5, 0.5]], np.float32), form)
    np.testing.assert_allclose(losses, [expected], rtol=1e-6)


def test_the_best_class_is_never_the_background():
    scores = np.array([[0.9, 0.04, 0.06], [0.2, 0.7, 0.1], [1.0, 0.0, 0.0]])
    assert best_class(scores).tolist() == [2, 1, 1]


def test_scores_of_zero_have_a_finite_gradient():
    scores = np.array([[0.0, 1.0, 0.0]], np.float32)
    slope = jax.grad(lambda x: class_losses(x, scores, "kl_sum").sum())(LOGITS)
    np.testing.assert_allclose(slope, [[0.25, -0.75, 0.5]], atol=1e-6)


def test_only_hidden_real_regions_count():
    predicted = np.zeros((1, 3, 2), np.float32)
    views = FakeViews(BATCH, region_feature=predicted)
    assert RegionFeatureObjective()(views, None, None, ONE).loss == 1.0
    logits = np.repeat(LOGITS[None], 3, axis=1)
    views = FakeViews(BATCH, region_classifier=logits)
    result = RegionClassObjective(form="kl_sum")(views, None, None, ONE)
    assert result.loss == pytest.approx(0.5 * math.log(2))
    # The first of two equal scores is the right one, and the third class was predicted.
    assert result.metrics["region_class_accuracy"] == 0.0


def test_a_batch_without_a_hidden_region_gives_zero():
    batch = BATCH | {"region_hidden": np.zeros((1, 3), bool)}
    heads = {"region_feature": np.ones((1, 3, 2)), "region_classifier": np.ones((1, 3, 3))}
    views = FakeViews(batch, **heads)
    for objective in (RegionFeatureObjective(), RegionClassObjective()):
        assert objective(views, None, None, ONE).loss == 0.0


def test_a_head_of_another_size_is_named():
    views = FakeViews(BATCH, region_classifier=np.ones((1, 3, 4)))
    with pytest.raises(ValueError, match="region_classifier predicts 4 numbers.*scores holds 3"):
        RegionClassObjective()(views, None, None, ONE)


def test_the_text_and_the_head_decide_what_is_read():
    clean, masked = RegionFeatureObjective(), RegionFeatureObjective(text="masked", head="regions")
    assert {"text_ids", "text_mask"} <= clean.reads and "mlm_ids" not in clean.reads
    assert {"mlm_ids", "text_mask"} <= masked.reads and "text_ids" not in masked.reads
    assert clean.heads == ("region_feature",) and masked.heads == ("regions",)


class SeveralOutputs(FakeViews):
    """Views with a head that gives objects alone."""

    def run(self, method, *inputs, name):
        return {"object": LOGITS}


def test_an_output_that_the_head_lacks_is_named():
    views = SeveralOutputs({})
    assert region_output(views, "clean", "regions", "object") is LOGITS
    with pytest.raises(ValueError, match='head regions gives no "feature", only object'):
        region_output(views, "clean", "regions", "feature")
