"""Captions at a [MASK]: against plain loops on a tiny OSCAR."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.layers.masks import captioning_mask
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.model import build_model
from vlp_jax.tasks.search import Search, SpecialIds, write
from vlp_jax.tasks.writing import mask_writer
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import find

GOLDEN = Path(__file__).parents[1] / "goldens" / "oscar-caption-a"
SPECIAL = SpecialIds(start=1, end=2, mask=3)


@pytest.fixture(scope="module")
def captioner():
    """A tiny OSCAR, its regions, and its object tags."""
    config = json.loads((GOLDEN / "config.json").read_text())
    published = find("oscar", "caption")
    ours = published.from_published(config)
    model = build_model(ours)
    params = published.load(read_state_dict(GOLDEN / "checkpoint.safetensors"), ours)
    inputs = np.load(GOLDEN / "inputs.npz")
    slots, length = config["max_seq_a_length"], config["max_seq_length"]
    valid = inputs["valid"].astype(bool)
    batch = {
        "region_features": inputs["img_feats"][..., :-6],
        "region_boxes": inputs["img_feats"][..., -6:],
        "region_mask": valid[:, length:],
    }
    image = model.apply({"params": params}, batch, method=Model.encode_image)
    tags, tag_mask = inputs["input_ids"][:, slots:], valid[:, slots:length]
    return model, params, image, jnp.asarray(tags), jnp.asarray(tag_mask), slots


def words_of(model, states):
    return model.head("mlm")(states, model.text.word_table())


def naive_words(captioner):
    """Returns (ids of every slot, position) -> likeliest word there, in one forward pass."""
    model, params, image, tags, tag_mask, slots = captioner
    mask = jnp.concatenate([jnp.ones((len(tags), slots), bool), tag_mask], 1)
    segments = jnp.broadcast_to(jnp.arange(mask.shape[1]) >= slots, mask.shape).astype(jnp.int32)
    joint_mask = captioning_mask(jnp.concatenate([mask, image.mask], 1), slots)
    apply = partial(model.apply, {"params": params})

    def likeliest(ids, position):
        words = jnp.concatenate([ids, tags], 1)
        text = apply(words, mask, segments, method=Model.encode_text)
        fused = apply(image, text, joint_mask=joint_mask, method=Model.fuse)
        logits = apply(fused.text.states, method=words_of)
        return jnp.argmax(logits[:, position], -1)

    return jax.jit(likeliest)


def test_greedy_captions_of_a_tiny_model_are_those_of_a_plain_loop(captioner):
    rng, slots, length = np.random.default_rng(), captioner[-1], 5
    size = len(captioner[3])
    decode = jax.jit(
        lambda: write(mask_writer(*captioner, SPECIAL), size, Search(length, beams=1), SPECIAL)
    )
    found = np.asarray(decode().ids)
    captions = np.zeros((size, slots), int)
    captions[:, 0] = SPECIAL.start
    ended = np.zeros(size, bool)
    likeliest = naive_words(captioner)
    for position in range(1, length):
        ids = rng.integers(4, 120, captions.shape)  # any words after the [MASK]
        ids[:, :position], ids[:, position] = captions[:, :position], SPECIAL.mask
        words = np.asarray(likeliest(ids, position))
        captions[:, position] = np.where(ended, SPECIAL.pad, words)
        ended |= np.isin(words, (SPECIAL.end, SPECIAL.pad))
    captions[~ended, length - 1] = SPECIAL.end
    np.testing.assert_array_equal(found, captions[:, :length])


def test_beams_of_one_image_do_not_mix_with_those_of_another(captioner):
    model, params, image, tags, tag_mask, slots = captioner
    decode = jax.jit(
        lambda image, tags, tag_mask: write(
            mask_writer(model, params, image, tags, tag_mask, slots, SPECIAL),
            4,
            Search(4, beams=3),
            SPECIAL,
        )
    )
    found = decode(image, tags, tag_mask)
    order = jnp.array([2, 0, 3, 1])
    swapped = decode(*jax.tree.map(lambda x: x[order], (image, tags, tag_mask)))
    np.testing.assert_array_equal(swapped.ids, found.ids[order])
    np.testing.assert_allclose(swapped.scores, found.scores[order], atol=1e-4)


def test_a_model_without_tags_can_caption(captioner):
    model, params, image, *_ = captioner
    one = Tokens(image.states[:1], image.mask[:1])
    none = jnp.zeros((1, 0), jnp.int32)
    writer = mask_writer(model, params, one, none, none.astype(bool), 4, SPECIAL)
    found = write(writer, 1, Search(4, beams=1), SPECIAL)
    assert found.ids.shape == (1, 4) and found.ids[0, 0] == SPECIAL.start
