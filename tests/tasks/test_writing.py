"""Decoding of captions: against exhaustive search on a toy, against plain loops on a tiny OSCAR."""

import itertools
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
from vlp_jax.tasks.writing import SpecialIds, beam_captions, greedy_captions, next_word
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import find

GOLDEN = Path(__file__).parents[1] / "goldens" / "oscar-caption-a"
SPECIAL = SpecialIds(start=1, end=2, mask=3)
TOY_WORDS = 7


def toy_table(rng, images):
    """log p(word | image, position, previous word): [B, L, V, V]."""
    scores = 2 * rng.standard_normal((images, 5, TOY_WORDS, TOY_WORDS))
    return jax.nn.log_softmax(jnp.asarray(scores))


def toy(table):
    def predict(captions, position):
        image = jnp.arange(len(captions)) // (len(captions) // len(table))
        previous = jnp.take_along_axis(captions, (position - 1)[None, None], axis=1)[:, 0]
        return table[image, position, previous]

    return predict


def exhaustive(table, length, penalty):
    """The best caption by trying all: words between [CLS] and an end at any place."""
    best, best_score = None, -np.inf
    words = [w for w in range(TOY_WORDS) if w not in (SPECIAL.end, SPECIAL.pad)]
    for count in range(length - 1):
        for middle in itertools.product(words, repeat=count):
            path = (SPECIAL.start, *middle)
            total = sum(table[i + 1, a, b] for i, (a, b) in enumerate(zip(path, path[1:])))
            ends = table[count + 1, path[-1]]
            # Where a caption is cut off, any word may stand for the end.
            ends = ends.max() if count == length - 2 else max(ends[SPECIAL.end], ends[SPECIAL.pad])
            score = (total + ends) / len(path) ** penalty
            if score > best_score:
                best, best_score = [*path, SPECIAL.end], score
    return best + [SPECIAL.pad] * (length - len(best)), best_score


@pytest.mark.parametrize("length, penalty", [(2, 1.0), (4, 1.0), (4, 0.0), (5, 2.0)])
def test_a_wide_beam_finds_what_trying_all_finds(length, penalty):
    table = toy_table(np.random.default_rng(), 3)
    found = beam_captions(toy(table), 3, length, SPECIAL, beams=150, length_penalty=penalty)
    for i, (ids, score) in enumerate(zip(found.ids, found.scores)):
        expected, best = exhaustive(np.asarray(table[i]), length, penalty)
        assert ids.tolist() == expected
        assert float(score) == pytest.approx(best, abs=1e-4)


def test_greedy_takes_the_likeliest_word_until_the_end():
    table = np.full((1, 5, TOY_WORDS, TOY_WORDS), np.log(0.01))
    for position, (before, word) in enumerate([(1, 4), (4, 6), (6, 2)], start=1):
        table[0, position, before, word] = np.log(0.5)
    found = greedy_captions(toy(jnp.asarray(table)), 1, 5, SPECIAL)
    assert found.ids.tolist() == [[1, 4, 6, 2, 0]]
    assert float(found.scores[0]) == pytest.approx(np.log(0.5))
    cut = greedy_captions(toy(jnp.asarray(table)), 1, 3, SPECIAL)
    assert cut.ids.tolist() == [[1, 4, 2]]


def test_beam_search_prefers_the_better_whole_to_the_better_start():
    table = np.full((1, 3, TOY_WORDS, TOY_WORDS), -20.0)
    table[0, 1, 1, 4], table[0, 1, 1, 5] = np.log(0.6), np.log(0.4)
    table[0, 2, 4, 2], table[0, 2, 5, 2] = np.log(0.1), np.log(0.9)
    predict = toy(jnp.asarray(table))
    assert beam_captions(predict, 1, 3, SPECIAL, beams=2).ids.tolist() == [[1, 5, 2]]
    assert greedy_captions(predict, 1, 3, SPECIAL).ids.tolist() == [[1, 4, 2]]


@pytest.mark.parametrize("length, beams", [(1, 2), (4, 0)])
def test_sizes_that_make_no_sense_are_refused(length, beams):
    with pytest.raises(ValueError, match=f"length = {length}, beams = {beams}"):
        beam_captions(toy(toy_table(np.random.default_rng(), 1)), 1, length, SPECIAL, beams)


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
    decode = jax.jit(lambda: greedy_captions(next_word(*captioner, SPECIAL), size, length, SPECIAL))
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
        lambda image, tags, tag_mask: beam_captions(
            next_word(model, params, image, tags, tag_mask, slots, SPECIAL), 4, 4, SPECIAL, beams=3
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
    predict = next_word(model, params, one, none, none.astype(bool), 4, SPECIAL)
    found = greedy_captions(predict, 1, 4, SPECIAL)
    assert found.ids.shape == (1, 4) and found.ids[0, 0] == SPECIAL.start
