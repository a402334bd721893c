"""Tests of pipelines: Hugging Face's arguments and result shapes, and the numbers of the verbs."""

import re

import numpy as np
import pytest
from PIL import Image

import vlp_jax
from tests.inference.published import ANSWERS, random_regions, sizes_of, write_weights
from tests.training.tiny import tiny
from vlp_jax.inference import Model
from vlp_jax.inference.pipelines import PIPELINES, pipeline
from vlp_jax.training.experiment import assemble

PICTURES = list(np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), dtype=np.uint8))
LEFT, RIGHT = random_regions(12), random_regions(9, seed=1)
QUESTIONS = ["how many things are there?", "is there a dog?"]
VQA = "visual-question-answering"
ZERO_SHOT = "zero-shot-image-classification"


def as_hub(answers):
    return [{"score": pytest.approx(a.probability, abs=1e-6), "answer": a.text} for a in answers]


def test_questions(model):
    ask = vlp_jax.pipeline(VQA, model=model)
    assert ask(image=PICTURES[0], question=QUESTIONS[0], top_k=3) == as_hub(
        model.answer(PICTURES[0], QUESTIONS[0], top=3)
    )
    assert len(ask(PICTURES[0], QUESTIONS[0])) == 5
    assert len(ask(PICTURES[0], QUESTIONS[0], top_k=10_000)) == len(model.answers)
    assert ask({"image": PICTURES[0], "question": QUESTIONS[0]}) == ask(PICTURES[0], QUESTIONS[0])


def test_lists_of_questions_and_pictures(model):
    ask = pipeline(VQA, model)
    single = {(i, q): ask(PICTURES[i], q, top_k=2) for i in range(2) for q in QUESTIONS}
    names = lambda results: [[answer["answer"] for answer in one] for one in results]
    every = ask(image=PICTURES[:2], question=QUESTIONS, top_k=2)  # each picture with each question
    assert names(every) == names(single.values()) and len(every) == 4
    assert names(ask(PICTURES[:2], QUESTIONS[1], top_k=2)) == names(
        single[i, QUESTIONS[1]] for i in range(2)
    )
    assert len(ask(PICTURES[:1], QUESTIONS[0])) == 1 and len(ask(PICTURES[0], QUESTIONS[:1])) == 1
    rows = [{"question": q, "image": PICTURES[i]} for i, q in enumerate(QUESTIONS)]  # in any order
    assert names(ask(rows, top_k=2)) == names(single[i, q] for i, q in enumerate(QUESTIONS))


def test_many_rows_are_asked_in_parts(model, monkeypatch):
    match = pipeline("image-text-matching", model)
    whole = match(PICTURES, ["a dog", "a cat"])
    monkeypatch.setattr("vlp_jax.inference.pipelines._AT_ONCE", 4)
    parts = match(PICTURES, ["a dog", "a cat"])
    assert len(parts) == 6
    np.testing.assert_allclose(
        [x["score"] for x in parts], [x["score"] for x in whole], rtol=1e-5, atol=1e-6
    )


def test_matching(model, tmp_path):
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    match = pipeline("image-text-matching", model)
    (chance,) = model.match(PICTURES[0], "a dog")
    for image in (PICTURES[0], Image.fromarray(PICTURES[0]), str(tmp_path / "a.png")):
        assert match(image=image, text="a dog") == {"score": pytest.approx(chance, abs=1e-6)}
    assert match([{"image": PICTURES[0], "text": "a dog"}]) == [match(PICTURES[0], "a dog")]


@pytest.mark.parametrize("rerank", [0, 2])
def test_retrieval_of_pictures(model, rerank):
    find = pipeline("image-text-retrieval", model)
    options = {"top_k": 2, "rerank": rerank}
    verb = {q: model.retrieve(q, PICTURES, top=2, rerank=rerank) for q in QUESTIONS}
    found = find(image=PICTURES, text=QUESTIONS[0], **options)
    assert [x["index"] for x in found] == [x.index for x in verb[QUESTIONS[0]]]
    assert all(x["image"] is PICTURES[x["index"]] for x in found)
    several = find(image=PICTURES, text=QUESTIONS, **options)  # pictures are encoded once
    for one, question in zip(several, QUESTIONS, strict=True):
        scores = [x.score for x in verb[question]]
        np.testing.assert_allclose([x["score"] for x in one], scores, atol=1e-5)
    rows = [{"image": PICTURES, "text": q} for q in QUESTIONS]
    assert [len(one) for one in find(rows, **options)] == [2, 2]


def test_retrieval_of_texts(model, tmp_path):
    Image.fromarray(PICTURES[0]).save(tmp_path / "a.png")
    found = pipeline("image-text-retrieval", model)(str(tmp_path / "a.png"), QUESTIONS)
    assert [x["index"] for x in found] == [x.index for x in model.retrieve(PICTURES[0], QUESTIONS)]
    assert [x["text"] for x in found] == [QUESTIONS[x["index"]] for x in found]


def test_zero_shot_by_contrast(model):
    classify = pipeline(ZERO_SHOT, model)
    labels = ["dog", "red apple", "cat"]
    found = classify(PICTURES[0], candidate_labels=labels, hypothesis_template="a {}")
    vectors = model.encode_image(PICTURES[0]), model.encode_text([f"a {x}" for x in labels])
    logits = (vectors[0] @ vectors[1].T)[0].astype(np.float64)
    logits /= float(model.params["heads_itc"]["temperature"])
    chances = np.exp(logits) / np.exp(logits).sum()
    assert [x["label"] for x in found] == [labels[i] for i in np.argsort(-chances)]
    np.testing.assert_allclose([x["score"] for x in found], np.sort(chances)[::-1], rtol=1e-4)
    several = classify(PICTURES, candidate_labels=labels)
    assert [len(one) for one in several] == [3, 3, 3] and all(
        sum(x["score"] for x in one) == pytest.approx(1, abs=1e-5) for one in several
    )
    twice = classify(PICTURES[0], candidate_labels=["dog", "dog"])
    assert [x["score"] for x in twice] == pytest.approx([0.5, 0.5])


@pytest.mark.slow
def test_zero_shot_by_matching(loaded):
    model = loaded("uniter_retrieval")
    labels = ["dog", "red cat on a bed"]
    found = pipeline(ZERO_SHOT, model)(regions=[LEFT, RIGHT], candidate_labels=labels)
    for one, regions in zip(found, (LEFT, RIGHT), strict=True):
        texts = [f"This is a photo of {label}." for label in labels]
        first, second = model.match_odds(regions=regions, texts=texts)
        chances = {x["label"]: x["score"] for x in one}
        assert chances["dog"] == pytest.approx(1 / (1 + np.exp(second - first)), abs=1e-5)
        assert one[0]["score"] >= one[1]["score"]


@pytest.mark.slow
def test_regions_in_place_of_pictures(loaded):
    ask = pipeline(VQA, loaded("uniter_vqa"))
    single = ask(regions=LEFT, question="What is it?", top_k=2)
    assert {"score", "answer"} == set(single[0]) and len(single) == 2
    several = ask(regions=[LEFT, RIGHT], question="What is it?", top_k=2)
    rows = ask([{"regions": x, "question": "What is it?"} for x in (LEFT, RIGHT)], top_k=2)
    assert several == rows and [x["answer"] for x in several[0]] == [x["answer"] for x in single]
    find = pipeline("image-text-retrieval", loaded("uniter_retrieval"))
    assert {x["index"] for x in find(regions=[LEFT, RIGHT], text="a dog")} == {0, 1}
    assert {x["text"] for x in find(regions=LEFT, text=["a dog", "a cat"])} == {"a dog", "a cat"}


@pytest.mark.slow
def test_entailment(loaded):
    model = loaded("albef_ve")
    decide = pipeline("visual-entailment", model)
    found, verb = decide(PICTURES[0], "A dog sleeps."), model.entail(PICTURES[0], "A dog sleeps.")
    assert found[0]["label"] == verb.label and len(found) == 3
    assert {x["label"]: x["score"] for x in found} == pytest.approx(verb.probabilities, abs=1e-6)
    assert [len(x) for x in decide(PICTURES[:2], ["A dog sleeps."])] == [3, 3]


@pytest.mark.slow
def test_reasoning(loaded):
    model = loaded("albef_nlvr2")
    decide = pipeline("nlvr2", model)
    pair, text = tuple(PICTURES[:2]), "Both show a dog."
    verb = model.reason(pair, text)
    found = decide(image=pair, text=text)
    assert found[0] == {"label": str(verb.true), "score": pytest.approx(verb.probability, abs=1e-6)}
    assert sum(x["score"] for x in found) == pytest.approx(1, abs=1e-6)
    several = decide([pair, pair[::-1]], text)
    assert several[0][0]["score"] == pytest.approx(found[0]["score"], abs=1e-5)
    assert decide([{"image": list(pair), "text": text}])[0][0]["label"] == found[0]["label"]
    with pytest.raises(ValueError, match=r"nlvr2: picture 0 is no pair \(left, right\)"):
        decide(PICTURES[0], text)
    regions = pipeline("nlvr2", loaded("uniter_nlvr2"))
    assert len(regions(regions=(LEFT, RIGHT), text=text)) == 2


@pytest.mark.slow
def test_captions(loaded):
    model = loaded("oscar_caption")
    write = pipeline("image-to-text", model)
    verb = model.caption(regions=[LEFT, RIGHT], beams=1, max_length=6)
    options = {"max_new_tokens": 5, "generate_kwargs": {"num_beams": 1}}
    assert write(regions=[LEFT, RIGHT], **options) == [[{"generated_text": x.text}] for x in verb]
    assert write(regions=LEFT, **options) == [{"generated_text": verb[0].text}]
    with pytest.raises(ValueError, match='unknown "num_beam". Did you mean "num_beams"'):
        write(regions=LEFT, generate_kwargs={"num_beam": 1})


@pytest.fixture(scope="module")
def answering_only() -> Model:
    """A model that was trained to answer and nothing else; it has no parameters to compute with."""
    experiment = assemble(tiny("light"))
    return Model(experiment.config, None, experiment.vocabulary)


@pytest.mark.parametrize("task", sorted(set(PIPELINES) - {VQA}))
def test_a_task_that_does_not_fit_the_model(answering_only, task):
    message = f'the model does not fit the task "{task}": .* it has vqa; use answer'
    with pytest.raises(ValueError, match=message):
        pipeline(task, answering_only)


def test_a_model_that_does_not_answer(loaded):
    with pytest.raises(ValueError, match=f'does not fit the task "{VQA}": answer needs the head'):
        pipeline(VQA, loaded("uniter_retrieval"))


def test_a_name_is_loaded_with_further_arguments(run, loaded, tmp_path):
    assert pipeline(VQA, model=run, which="teacher").task == VQA
    file, sizes = write_weights(tmp_path, "uniter_vqa"), sizes_of("uniter_vqa")
    ask = pipeline(VQA, model="uniter_vqa", weights=file, sizes=sizes, answers=ANSWERS)
    assert {x["answer"] for x in ask(regions=LEFT, question="what?")} == set(ANSWERS)
    with pytest.raises(ValueError, match="step: these are for `load`, and the model given is"):
        pipeline(VQA, loaded("uniter_vqa"), step=3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"question": "what?"}, "needs pictures, or `regions`"),
        ({"image": PICTURES[0]}, "needs `question` beside a picture"),
        ({"image": [{"image": PICTURES[0]}]}, 'item 0 is no dict with "image" (or "regions") and'),
        ({"image": [{"image": "a.png", "question": "what?"}, 3]}, "item 1 is no dict with"),
        ({"image": [], "question": "what?"}, "an empty list was given"),
        ({"image": PICTURES[0], "question": "what?", "top_k": 0}, "top_k = 0: must be at least 1"),
        ({"image": PICTURES[0], "question": ""}, "text 0 is ''; expected a string with words"),
        ({"image": "https://a.b/c.png", "question": "what?"}, "is an address; local files and gs"),
        ({"regions": LEFT, "question": "what?"}, "this model reads pixels"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_call(model, given, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        pipeline(VQA, model)(**given)


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        ("dog", "a {}", "candidate_labels is 'dog'; expected a list of texts"),
        ([], "a {}", r"candidate_labels is \[\]"),
        (["dog", " "], "a {}", r"candidate_labels is \["),
        (["dog"], 3, "hypothesis_template is 3; expected"),
        (["dog", 3], "a {}", "expected a list of texts"),
        (["dog"], "a photo", "hypothesis_template is 'a photo'; expected {} for the label"),
    ],
)
def test_labels_that_are_none(model, labels, template, message):
    with pytest.raises(ValueError, match=message):
        pipeline(ZERO_SHOT, model)(PICTURES[0], labels, template)


def test_an_unknown_task(model):
    with pytest.raises(ValueError, match=f'unknown pipeline task "visual-question-answer".*{VQA}'):
        pipeline("visual-question-answer", model)
