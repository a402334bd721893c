"""Tests of the verbs: shapes, pairing, orders, and readable errors."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.tiny import tiny
from vlp_jax.inference.model import Answer, Model, Retrieved
from vlp_jax.training.experiment import assemble

RNG = np.random.default_rng()
IMAGES = list(RNG.integers(0, 256, (5, 40, 30, 3), dtype=np.uint8))
TEXTS = ["a red apple", "a dog left of a cat", "two things on a blue background", "a dog", "a cat"]


def close(a, b):
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_vectors_have_unit_length(model):
    image, text = model.encode_image(IMAGES[:2]), model.encode_text(TEXTS[:3])
    assert image.shape == (2, 8) and text.shape == (3, 8)
    assert image.dtype == text.dtype == np.float32
    close(np.linalg.norm(image, axis=1), 1)
    close(np.linalg.norm(text, axis=1), 1)


def test_one_is_a_list_of_one(model):
    assert model.encode_image(IMAGES[0]).shape == (1, 8)
    assert model.encode_text(TEXTS[0]).shape == (1, 8)
    close(model.encode_image(IMAGES[0])[0], model.encode_image(IMAGES[:2])[0])
    close(model.encode_text(TEXTS[1])[0], model.encode_text(TEXTS[:2])[1])


def test_all_forms_of_an_image_encode_alike(model, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(IMAGES[0]).save(path)
    forms = [IMAGES[0], Image.fromarray(IMAGES[0]), path, str(path), path.read_bytes()]
    vectors = model.encode_image(forms)
    assert vectors.shape == (5, 8)
    close(vectors, vectors[:1].repeat(5, 0))


def test_texts_are_cleaned_as_in_training(model):
    close(model.encode_text("  A red APPLE!  "), model.encode_text("a red apple"))
    assert np.abs(model.encode_text("a red apple") - model.encode_text("a red dog")).max() > 1e-6


def test_match_pairs_one_with_many(model):
    every = model.match(IMAGES[0], TEXTS)
    assert every.shape == (5,) and ((0 < every) & (every < 1)).all()
    close(every, [model.match(IMAGES[0], text)[0] for text in TEXTS])
    by_image = model.match(IMAGES, TEXTS[0])
    assert by_image.shape == (5,)
    paired = model.match(IMAGES, TEXTS)
    close(paired[0], by_image[0])
    close(paired[0], every[0])
    close(paired[3], model.match(IMAGES[3], TEXTS[3])[0])


def test_match_in_more_than_one_batch(model):
    many = model.match(IMAGES[0], TEXTS * 9)
    assert many.shape == (45,)
    close(many[:5], many[40:])


def test_match_refuses_other_counts(model):
    message = "match was given 2 images and 3 texts; expected as many of both, or one of either"
    with pytest.raises(ValueError, match=message):
        model.match(IMAGES[:2], TEXTS[:3])


def test_answers_are_probabilities_best_first(model):
    count = len(model.answers)
    found = model.answer(IMAGES[0], "how many things are there?", top=count + 5)
    assert len(found) == count and all(isinstance(a, Answer) for a in found)
    assert {a.text for a in found} == set(model.answers)
    probabilities = [a.probability for a in found]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    assert model.answer(IMAGES[0], "how many things are there?") == found[:1]


def test_answers_to_lists_are_lists(model):
    question = "is there a dog?"
    single = model.answer(IMAGES[1], question, top=2)
    by_image = model.answer(IMAGES[:3], question, top=2)
    assert [len(answers) for answers in by_image] == [2, 2, 2]
    assert [a.text for a in by_image[1]] == [a.text for a in single]
    listed = model.answer([IMAGES[1]], [question], top=2)
    assert [a.text for a in listed[0]] == [a.text for a in single] and len(listed) == 1
    by_question = model.answer(IMAGES[1], [question, "is there a cat?"])
    assert len(by_question) == 2
    with pytest.raises(ValueError, match="answer was given 2 images and 3 questions"):
        model.answer(IMAGES[:2], [question] * 3)


def test_retrieve_orders_by_similarity_without_re_ranking(model):
    similarities = (model.encode_image(IMAGES) @ model.encode_text(TEXTS[0]).T).ravel()
    found = model.retrieve(TEXTS[0], IMAGES, top=3, rerank=0)
    assert [f.index for f in found] == np.argsort(-similarities)[:3].tolist()
    close([f.score for f in found], np.sort(similarities)[::-1][:3])
    assert all(isinstance(f, Retrieved) for f in found)


def test_retrieve_puts_the_best_matches_first(model):
    odds = model.match(IMAGES[0], TEXTS)
    found = model.retrieve(IMAGES[0], TEXTS, top=5, rerank=5)
    assert [f.index for f in found] == np.argsort(-odds).tolist()
    close([f.score for f in found], np.sort(odds)[::-1])


def test_a_picture_is_no_text(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # long paths are cut in messages
    path = Path("a.png")
    Image.fromarray(IMAGES[0]).save(path)
    for ask in (
        lambda: model.retrieve(str(path), TEXTS),
        lambda: model.match(IMAGES[0], str(path)),
    ):
        with pytest.raises(ValueError, match=r"a.png\", the path of a picture: where a picture is"):
            ask()
    assert model.retrieve(path, TEXTS, top=1) == model.retrieve(IMAGES[0], TEXTS, top=1)
    assert len(model.encode_text("gone.png")) == 1  # there is no such file


def test_candidates_not_scored_again_stand_below(model):
    similarities = (model.encode_image(IMAGES[0]) @ model.encode_text(TEXTS).T).ravel()
    best = set(np.argsort(-similarities)[:2].tolist())
    found = model.retrieve(IMAGES[0], TEXTS, top=99, rerank=2)
    assert {f.index for f in found[:2]} == best and len(found) == 5
    scores = [f.score for f in found]
    assert scores == sorted(scores, reverse=True) and scores[1] > 0 > scores[2]


def test_retrieve_among_one(model, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(IMAGES[0]).save(path)
    for candidates in (str(path), [path], [IMAGES[0]], np.stack(IMAGES[:1])):
        assert [f.index for f in model.retrieve("a dog", candidates)] == [0]


@pytest.mark.slow
def test_apply_gives_every_output(model):
    ids, mask = model.tokenizer.encode("a dog", 12)
    image = np.zeros((1, 32, 32, 3), np.uint8)
    outputs = model.apply({"image": image, "text_ids": ids[None], "text_mask": mask[None]})
    assert outputs["image"].states.shape == (1, 5, 16)
    assert outputs["fused"].text.states.shape == (1, 12, 16)
    assert outputs["itm"].shape == (1, 2)
    assert outputs["mlm"].shape == (1, 12, model.tokenizer.size)
    assert outputs["vqa"].shape == (1, len(model.answers))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("text_ids", 10**6, '"text_ids" holds 1000000, and the model knows .* of them: expected 0'),
        ("text_ids", -1, '"text_ids" holds -1, '),
        ("text_segments", 2, '"text_segments" holds 2, and the model knows 2 of them'),
        ("image", np.nan, r'"image" holds nan at \[0, 1, 0, 0\]'),
    ],
)
def test_apply_refuses_what_no_table_has(model, field, value, message):
    image = np.zeros((1, 32, 32, 3), np.float32)
    batch = {
        "image": image,
        "text_ids": np.ones((1, 4), np.int32),
        "text_mask": np.ones((1, 4), bool),
    }
    changed = np.array(batch.get(field, np.zeros((1, 4), np.int32)))
    changed[0, 1] = value
    with pytest.raises(ValueError, match=message):
        model.apply(batch | {field: changed})


INVISIBLE = ["\u200b", "\u00ad", "\ufeff", "\u00a0\u3000", "\ud800"]


@pytest.mark.parametrize("text", ["", "   ", "...", None, 3, ["nested"], *INVISIBLE])
def test_a_text_without_words(model, text):
    with pytest.raises(ValueError, match="text 1 is .*expected a string with words in it"):
        model.encode_text(["a dog", text])


@pytest.mark.parametrize("verb", ["encode_image", "encode_text"])
def test_nothing_given(model, verb):
    with pytest.raises(ValueError, match="an empty list was given"):
        getattr(model, verb)([])


@pytest.fixture(scope="module")
def answering_only() -> Model:
    """A model that was trained to answer and nothing else; its parameters are never asked for."""
    experiment = assemble(tiny("light"))
    return Model(experiment.config, None, experiment.vocabulary)


@pytest.mark.parametrize(
    ("verb", "arguments", "head"),
    [
        ("encode_image", (IMAGES[0],), "itc"),
        ("encode_text", (TEXTS[0],), "itc"),
        ("retrieve", (TEXTS[0], IMAGES), "itc"),
        ("match", (IMAGES[0], TEXTS[0]), "itm"),
    ],
)
def test_a_head_that_the_model_lacks(answering_only, verb, arguments, head):
    with pytest.raises(ValueError, match=f'needs the head "{head}", .* it has vqa'):
        getattr(answering_only, verb)(*arguments)


def test_a_model_without_its_answers(answering_only):
    empty = dataclasses.replace(assemble(tiny("light")).vocabulary, answers=())
    nameless = Model(answering_only.config, None, empty)
    with pytest.raises(ValueError, match="came without its list of answers"):
        nameless.answer(IMAGES[0], "is there a dog?")


def batch_of(texts, **changes):
    image, ids = np.zeros((1, 32, 32, 3), np.uint8), np.ones((texts, 4), np.int32)
    return {"image": image, "text_ids": ids, "text_mask": ids > 0} | changes


WRONG = {
    "answers of a head that matches": (lambda m: m.answer(IMAGES[0], "what?", head="itm"), "itm"),
    "a task without a table": (lambda m: m.answer(IMAGES[0], "what?", task=3), "no table of tasks"),
    "no answers": (lambda m: m.answer(IMAGES[0], "what?", top=0), "top = 0: must be at least 1"),
    "all but one": (lambda m: m.retrieve("a", IMAGES, top=-1), "top = -1: must be at least 1"),
    "a part": (lambda m: m.retrieve("a", IMAGES, rerank=0.5), "rerank = 0.5 .float.: expected int"),
    "other vectors": (
        lambda m: m.retrieve("a", IMAGES, vectors=np.zeros((2, 8))),
        "5 images and vectors of 2",
    ),
    "a layer's name": (lambda m: m.explain(IMAGES[0], "a dog", layer="last"), "layer = 'last'"),
    "no field": (lambda m: m.apply({}), "lacks image, text_ids, text_mask; it has none"),
    "words": (lambda m: m.apply(batch_of(1, image="a.png")), '"image" is <U5 .., expected numbers'),
    "other rows": (lambda m: m.apply(batch_of(2)), "number of rows: image 1, text_ids 2, text_m"),
    "a list": (lambda m: m.apply([1]), "the batch is a list, expected a dict of arrays"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_arguments_out_of_range_are_named(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)
