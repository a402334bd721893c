"""Tests of hidden regions: which ones count, empty batches, and what heads must give."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.model import CAPTION
from vlp_jax.tasks import HeadNeed
from vlp_jax.tasks.hidden_regions import region_output
from vlp_jax.tasks.masked_regions import RegionClassTask, RegionFeatureTask

# Softmax shares of 1/4, 1/4, 1/2.
LOGITS = np.log(np.array([[1.0, 1.0, 2.0]], np.float32))
BATCH = {
    "region_mask": [[True, True, False]],
    "region_hidden": [[True, False, True]],
    "region_targets": [[[1.0, 1.0], [5, 5], [9, 9]]],
    "region_class_scores": [[[0.0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]]],
}


def test_only_hidden_real_regions_count():
    predicted = np.zeros((1, 3, 2), np.float32)
    views = FakeViews(BATCH, region_feature=predicted)
    assert loss_of(RegionFeatureTask(), views).loss == 1.0
    logits = np.repeat(LOGITS[None], 3, axis=1)
    views = FakeViews(BATCH, region_classifier=logits)
    result = loss_of(RegionClassTask(form="kl_sum"), views)
    assert result.loss == pytest.approx(0.5 * math.log(2))
    # The first of two equal scores is the right one, and the third class was predicted.
    assert result.metrics["region_class_accuracy"] == 0.0


def test_a_batch_without_a_hidden_region_gives_zero():
    batch = BATCH | {"region_hidden": np.zeros((1, 3), bool)}
    heads = {"region_feature": np.ones((1, 3, 2)), "region_classifier": np.ones((1, 3, 3))}
    views = FakeViews(batch, **heads)
    for task in (RegionFeatureTask(), RegionClassTask()):
        assert loss_of(task, views).loss == 0.0


def test_a_head_of_another_size_is_named():
    views = FakeViews(BATCH, region_classifier=np.ones((1, 3, 4)))
    with pytest.raises(ValueError, match="region_classifier predicts 4 numbers.*scores holds 3"):
        loss_of(RegionClassTask(), views)


def test_the_text_and_the_head_decide_what_is_read():
    clean, masked = RegionFeatureTask(), RegionFeatureTask(text="masked", head="regions")
    assert {"text_ids", "text_mask"} <= clean.reads and "mlm_ids" not in clean.reads
    assert {"mlm_ids", "text_mask"} <= masked.reads and "text_ids" not in masked.reads
    sizes = SimpleNamespace(widths={"region_targets": 2})
    assert clean.heads(sizes) == {"region_feature": HeadNeed("region_feature", {"feature": 2})}
    assert masked.heads(sizes).keys() == {"regions"}


def test_an_output_that_the_head_lacks_is_named():
    views = FakeViews({})
    views.outputs = {"regions": {"object": LOGITS}}
    assert region_output(views, CAPTION, "regions", "object") is LOGITS
    with pytest.raises(ValueError, match='head regions gives no "feature", only object'):
        region_output(views, CAPTION, "regions", "feature")
