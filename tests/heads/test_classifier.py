"""Tests of classifiers on the pooled vector: each form, its sizes and what is refused."""

import jax
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import count_draws, random_variables
from vlp_jax.config import checked_fields
from vlp_jax.heads import HEADS
from vlp_jax.heads.classifier import Classifier, MatchingHead


@pytest.fixture
def pooled():
    return np.random.default_rng().normal(size=(3, 8)).astype(np.float32)


def run(module, *args):
    variables = random_variables(module, np.random.default_rng(), *args)
    return variables["params"], module.apply(variables, *args)


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
    p, logits = run(Classifier(classes=5, form=form), pooled)
    hidden = pooled if between is None else between(p, slow.linear(p["hidden"], pooled))
    np.testing.assert_allclose(logits, slow.linear(p["output"], hidden), atol=2e-5)
    assert logits.shape == (3, 5)


@pytest.mark.parametrize(
    ("form", "hidden", "width"),
    [("mlp_norm", 0, 16), ("mlp_relu", 0, 8), ("mlp_relu_norm", 0, 8), ("mlp_norm", 6, 6)],
)
def test_inner_width(pooled, form, hidden, width):
    p, _ = run(Classifier(classes=5, form=form, hidden=hidden), pooled)
    assert p["hidden"]["kernel"].shape == (8, width)


def test_two_names_of_one_head():
    assert HEADS["vqa"] is HEADS["classifier"] is Classifier


def test_matching_logits(pooled):
    p, logits = run(MatchingHead(), pooled)
    np.testing.assert_allclose(logits, slow.linear(p["dense"], pooled), atol=1e-5)
    assert logits.shape == (3, 2)
    assert run(MatchingHead(classes=3), pooled)[1].shape == (3, 3)


@pytest.mark.parametrize("index", [2, -1, "1"])
def test_the_match_is_one_of_two_classes(index):
    message = rf"config\.model\.heads\.itm\.match_index = {index!r}\..* Allowed: 0, 1"
    with pytest.raises(ValueError, match=message):
        checked_fields(MatchingHead, {"match_index": index}, "config.model.heads.itm")


@pytest.mark.parametrize("deterministic", [True, False])
def test_dropout(pooled, deterministic):
    module = Classifier(classes=5, form="linear", dropout=0.5)
    variables = random_variables(module, np.random.default_rng(), pooled)
    options = dict(deterministic=deterministic, rngs={"dropout": jax.random.key(0)})
    jaxpr = jax.make_jaxpr(lambda x: module.apply(variables, x, **options))(pooled)
    assert count_draws(jaxpr.jaxpr) == (not deterministic)
