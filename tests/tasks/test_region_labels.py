"""LXMERT's region losses: every region counts by its confidence, hidden ones by their feature."""

import math

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.losses.regions import LOSS_SCALE
from vlp_jax.tasks.region_labels import RegionLabelsTask

BATCH = {
    "region_mask": [[True, True, False]],
    "region_hidden": [[True, False, False]],
    "region_labels": [[1, 0, 0]],
    "region_confidence": [[0.5, 0.25, 0.0]],
    "region_attributes": [[0, 1, 0]],
    "region_attribute_confidence": [[1.0, 0.0, 0.0]],
    "region_targets": [[[2.0], [3.0], [0.0]]],
}
HEAD = {
    "object": np.zeros((1, 3, 2), np.float32),
    "attribute": np.zeros((1, 3, 4), np.float32),
    "feature": np.zeros((1, 3, 1), np.float32),
}


def losses(**settings):
    views = FakeViews(BATCH)
    views.outputs["region_labels"] = HEAD
    result = loss_of(RegionLabelsTask(**settings), views)
    parts = {name.split("_")[1]: float(x) for name, x in result.metrics.items()}
    assert result.loss == pytest.approx(sum(parts.values()))
    return parts


def test_parts_by_hand():
    found = losses(scale=1.0)
    assert found["object"] == pytest.approx((0.5 + 0.25) * math.log(2) / 2)
    assert found["attribute"] == pytest.approx(math.log(4) / 2)
    assert found["feature"] == pytest.approx(1.5 / 2)
    published = losses()
    assert published["feature"] == pytest.approx(found["feature"] * LOSS_SCALE)


def test_masked_only_leaves_out_what_the_model_sees():
    assert losses(scale=1.0, masked_only=True)["object"] == pytest.approx(0.5 * math.log(2) / 2)


def test_parts_decide_what_is_read_and_reported():
    objects = RegionLabelsTask(parts=("object",))
    assert losses(parts=("object",)).keys() == {"object"}
    assert objects.metrics == {"region_object_loss": "Region object loss"}
    assert {"region_labels", "region_confidence"} <= objects.reads
    assert not {"region_targets", "region_hidden", "region_attributes"} & objects.reads
    assert "region_hidden" in RegionLabelsTask(parts=("object",), masked_only=True).reads
