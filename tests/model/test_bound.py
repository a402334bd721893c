"""Tests of forward passes with fixed parameters, and of the heat maps of attention."""

import jax
import numpy as np
import pytest

from tests.model.tiny import fusion_args, random_batch, random_params, random_tokens, tiny_model
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model.bound import Bound, _text_to_image, to_device


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


def streams(words, regions):
    rng = np.random.default_rng()
    return random_tokens(rng, 2, words, full=True), random_tokens(rng, 2, regions, full=True)


@pytest.mark.parametrize("fusion", ["cross_attention", "cross_modality"])
def test_heat_maps_of_as_many_words_as_image_tokens(fusion):
    model = bound(fusion=fusion, fusion_args=fusion_args(fusion))
    texts, images = streams(4, 4)
    heat = np.asarray(model.heat_maps(texts, images))
    longer = jax.tree.map(lambda x: np.concatenate([x, np.zeros_like(x[:, :1])], 1), texts)
    np.testing.assert_allclose(heat, model.heat_maps(longer, images)[:, :4], atol=1e-6)
    assert heat.shape == (2, 4, 4) and (heat >= 0).all() and heat.any()


def test_masked_image_tokens_stay_cold(albef):
    texts, images = streams(4, 4)
    images = Tokens(images.states, images.mask & (np.arange(4) != 2))
    heat = np.asarray(albef.heat_maps(texts, images))
    assert not heat[:, :, 2].any() and heat[:, :, [0, 1, 3]].any()


def test_attention_arrays_are_found_in_the_order_of_layers():
    tree = {f"layer_{i}": {"probabilities": (np.full((1, 1, 2, 3), i),)} for i in range(12)}
    tree |= {"layer_3": tree["layer_3"] | {"other": (np.zeros((1, 1, 2, 3)),)}}
    assert [int(x.max()) for x in _text_to_image(tree, 2, 3)] == list(range(12))


def test_joint_attention_is_cut_to_text_over_image():
    joint = np.arange(25).reshape(1, 1, 5, 5)
    (found,) = _text_to_image({"probabilities": (joint,)}, 2, 3)
    np.testing.assert_array_equal(found[0, 0], [[2, 3, 4], [7, 8, 9]])


def test_a_fusion_without_such_attention():
    with pytest.raises(
        ValueError, match="no layer of this model's fusion lets text positions read"
    ):
        _text_to_image({"probabilities": (np.zeros((1, 1, 4, 4)),)}, 2, 3)


def test_to_device_keeps_the_fields(batch):
    moved = to_device(batch)
    assert moved.keys() == batch.keys()
    assert all(isinstance(x, jax.Array) for x in moved.values())
    np.testing.assert_array_equal(moved["text_ids"], batch["text_ids"])
