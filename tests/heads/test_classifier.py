"""Tests of classifiers on the pooled vector: each form, its sizes and what is refused."""

import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import run_module
from vlp_jax.config import checked_fields
from vlp_jax.heads import HEADS
from vlp_jax.heads.classifier import Classifier, MatchingHead


@pytest.fixture
def pooled():
    return np.random.default_rng().normal(size=(3, 8)).astype(np.float32)


def relu(x):
    return np.maximum(x, 0)


@pytest.mark.parametrize(
    ("form", "between"),
    [
        ("linear", None),
        ("mlp_norm", lambda p, x: slow.layer_norm(p["norm"], slow.gelu(x), 1e-12)),
        ("mlp_relu", lambda p, x: relu(x)),
        ("mlp_relu_norm", lambda p, x: slow.layer_norm(p["norm"], relu(x), 1e-12)),
    ],
)
def test_each_form(pooled, form, between):
    p, logits = run_module(Classifier(classes=5, form=form), pooled)
    hidden = pooled if between is None else between(p, slow.linear(p["hidden"], pooled))
    np.testing.assert_allclose(logits, slow.linear(p["output"], hidden), atol=2e-5)
    assert logits.shape == (3, 5)


@pytest.mark.parametrize(
    ("form", "hidden", "width"),
    [("mlp_norm", 0, 16), ("mlp_relu", 0, 8), ("mlp_relu_norm", 0, 8), ("mlp_norm", 6, 6)],
)
def test_inner_width(pooled, form, hidden, width):
    p, _ = run_module(Classifier(classes=5, form=form, hidden=hidden), pooled)
    assert p["hidden"]["kernel"].shape == (8, width)


def test_two_names_of_one_head():
    assert HEADS["vqa"] is HEADS["classifier"] is Classifier


def test_matching_logits(pooled):
    p, logits = run_module(MatchingHead(), pooled)
    np.testing.assert_allclose(logits, slow.linear(p["dense"], pooled), atol=1e-5)
    assert logits.shape == (3, 2)
    assert run_module(MatchingHead(classes=3), pooled)[1].shape == (3, 3)


@pytest.mark.parametrize("index", [2, -1, "1"])
def test_the_match_is_one_of_two_classes(index):
    message = rf"config\.model\.heads\.itm\.match_index = {index!r}\..* Allowed: 0, 1"
    with pytest.raises(ValueError, match=message):
        checked_fields(MatchingHead, {"match_index": index}, "config.model.heads.itm")
