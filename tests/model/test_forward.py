"""Tests of functions of views with fixed parameters: the same numbers, compiled once."""

from functools import partial

import jax
import numpy as np
import pytest

from tests.model.tiny import random_batch, random_params, tiny_model
from vlp_jax.model import CAPTION, Forward, Views
from vlp_jax.parallel import make_mesh, replicated, use_mesh
from vlp_jax.tasks import contrast
from vlp_jax.tasks.answers import answer_logits


@pytest.fixture(scope="module")
def albef():
    model = tiny_model()
    return Forward(model, random_params(model, np.random.default_rng()))


@pytest.fixture(scope="module")
def batch():
    return random_batch(np.random.default_rng(), size=3)


@pytest.mark.slow
def test_it_gives_what_the_model_gives(albef, batch):
    apply = jax.jit(lambda params, batch: albef.model.apply({"params": params}, batch))
    exact = apply(albef.params, batch)
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)
    jax.tree.map(close, albef(Views.fused, batch), exact["fused"])
    jax.tree.map(close, albef(contrast.vectors, batch), exact["itc"][:2])


def test_passes_that_are_there_already_are_taken(albef, batch):
    made = {"image": albef(Views.image, batch), CAPTION.ids: albef(Views.text, batch)}
    exact, found = albef(contrast.vectors, batch), albef(contrast.vectors, {}, made)
    for vectors, again in zip(exact, found):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
        np.testing.assert_allclose(again, vectors, atol=1e-6)


def test_a_function_is_traced_once_for_each_shape_and_each_argument(albef, batch):
    traced = []

    def scaled(views, scale):
        traced.append(scale)
        return scale * views.batch["image_id"]

    other, smaller = (random_batch(np.random.default_rng(), size=size) for size in (3, 2))
    for given, scale in ((batch, 2), (other, 2), (batch, 3), (smaller, 3)):
        found = albef(partial(scaled, scale=scale), given)
        np.testing.assert_array_equal(found, scale * given["image_id"])
    assert traced == [2, 3, 3]


def test_every_device_has_all_that_is_computed_on_a_mesh(devices8):
    """Of several processes each reads the results of whole batches."""
    model, rng = tiny_model(), np.random.default_rng()
    with use_mesh(make_mesh(4, 2, devices=devices8)) as mesh:
        forward = Forward(model, replicated(random_params(model, rng), mesh))
        found = forward(Views.fused, random_batch(rng, size=8))
        assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(found))


def test_there_is_no_dropout(batch):
    model = tiny_model(heads={"vqa": {"classes": 5, "dropout": 0.9}})
    forward = Forward(model, random_params(model, np.random.default_rng()))
    first, again = (np.asarray(forward(answer_logits, batch)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3, 5)
