"""Weights of a fusion of one picture fill both layers of each pair that reads two."""

import jax
import numpy as np
import pytest

from tests.weights.test_initial import MODEL, VOCABULARY, fill
from vlp_jax.config import ExperimentConfig, build
from vlp_jax.model import build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox
from vlp_jax.weights.conversion import layers_apart

TWO = dict(fusion="two_image_cross_attention", heads=dict(itc=dict(width=4)))
CROSS = "cross_attention/attention"


@pytest.fixture
def one_picture():
    """The model of one picture as a run has it, with random parameters."""
    config = build(ExperimentConfig, {"model": MODEL | TWO | dict(fusion="cross_attention")}, "c")
    shapes = unbox(abstract_params(build_model(config.model)))
    rng = np.random.default_rng(0)
    return config, jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)


def test_each_layer_starts_two(one_picture, monkeypatch, tmp_path):
    config, params = one_picture
    run = config, VOCABULARY, params
    monkeypatch.setattr("tests.weights.test_initial.read_run", lambda path: run)
    _, after, news = fill({"path": str(tmp_path), "kind": "run"}, **TWO)
    before = layers_apart(params)
    for part in ("key", "value"):
        given = before[f"fusion/layer_1/{CROSS}/{part}/kernel"]
        np.testing.assert_array_equal(after[f"fusion/layer_1/{part}/kernel"], given)
    for rest in (f"{CROSS}/query/kernel", "self_attention/norm/scale", "feed_forward/expand/bias"):
        for which in ("first", "second"):
            given = before[f"fusion/layer_0/{rest}"]
            np.testing.assert_array_equal(after[f"fusion/layer_0/{which}/{rest}"], given)
    np.testing.assert_array_equal(after["text/word/table"], before["text/word/table"])
    assert "freshly drawn are none" in news[-1]
