"""Tests of forward passes with fixed parameters."""

import jax
import numpy as np
import pytest

from tests.model.tiny import random_batch, random_params, tiny_model
from vlp_jax.model.bound import Bound, to_device


def bound(**changes):
    model, rng = tiny_model(**changes), np.random.default_rng()
    return Bound(model, random_params(model, rng))


@pytest.fixture(scope="module")
def albef():
    return bound()


@pytest.fixture(scope="module")
def batch():
    return random_batch(np.random.default_rng(), size=3)


def test_vectors_are_of_unit_length_and_come_from_the_encodings(albef, batch):
    image, text = albef.vectors(batch)
    for vectors in (image, text):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-5)
    images = albef.images(batch)
    texts = albef.texts(batch["text_ids"], batch["text_mask"])
    np.testing.assert_allclose(albef.image_vectors(images), image, atol=1e-6)
    np.testing.assert_allclose(albef.text_vectors(texts), text, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("index", [0, 1])
def test_match_is_the_log_odds(batch, index, classes):
    heads = {"itm": {"match_index": index, "classes": classes}}
    model = bound(heads=heads)
    texts = model.texts(batch["text_ids"], batch["text_mask"])
    images = model.images(batch)
    fused = jax.jit(lambda p: model.model.apply({"params": p}, texts, images, method="fuse"))
    pooled = np.asarray(fused(model.params).text.states[:, 0])
    dense = model.params["heads_itm"]["dense"]
    shares = np.exp(pooled @ dense["kernel"] + dense["bias"])
    exact = np.log(shares[:, index] / (shares.sum(-1) - shares[:, index]))
    np.testing.assert_allclose(model.match(texts, images), exact, atol=1e-4)


def test_answers_and_words(albef, batch):
    texts = albef.texts(batch["text_ids"], batch["text_mask"])
    images = albef.images(batch)
    assert albef.answer_logits(texts, images).shape == (3, 5)
    assert albef.word_logits(texts, images).shape == (3, 6, 24)


def test_a_second_batch_of_the_same_shape_is_not_compiled_again(albef, batch):
    albef.images(batch)
    compiled = albef._encode_image._cache_size()
    albef.images(random_batch(np.random.default_rng(), size=3))
    assert albef._encode_image._cache_size() == compiled


def test_to_device_keeps_the_fields(batch):
    moved = to_device(batch)
    assert moved.keys() == batch.keys()
    assert all(isinstance(x, jax.Array) for x in moved.values())
    np.testing.assert_array_equal(moved["text_ids"], batch["text_ids"])
