"""Every verb on every published model that has its head, from raw texts, pixels and regions."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vlp_jax
from tests.configs.readme_table import presets_of
from tests.inference.published import (
    ANSWERS,
    WIDTH,
    random_regions,
    sizes_of,
    write_weights,
)
from vlp_jax.cli.main import main
from vlp_jax.config import DataConfig, ExperimentConfig
from vlp_jax.data.answer_lists import read_answers
from vlp_jax.data.regions import Regions, open_regions
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference import Model
from vlp_jax.inference.region_inputs import as_regions, region_fields
from vlp_jax.inference.texts import padded_length
from vlp_jax.weights.zoo import ZOO

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)
LEFT, RIGHT = random_regions(12), random_regions(9, seed=1)


def pictures(name, two=False):
    given = list(PIXELS) if ZOO[name].family == "albef" else [LEFT, RIGHT]
    kind = "images" if ZOO[name].family == "albef" else "regions"
    return {kind: tuple(given) if two else given[0]}


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in (*presets_of("vqa"), "vilbert_beta_vqa")),
        *((name, {"head": "gqa"} if "12in1" in name else {}) for name in presets_of("gqa")),
    ],
)
def test_answer(loaded, name, options):
    found = loaded(name).answer(questions="What is it?", top=9, **pictures(name), **options)
    assert {a.text for a in found} == set(ANSWERS)
    assert sum(a.probability for a in found) == pytest.approx(1, abs=1e-5)
    assert [a.score for a in found] == sorted((a.score for a in found), reverse=True)


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", presets_of("nlvr2"))
def test_reason_tells_left_from_right(loaded, name):
    model, shown = loaded(name), pictures(name, two=True)
    found = model.reason(texts="Both show a dog.", **shown)
    assert 0.5 <= found.probability <= 1 and found.true == (found.scores[1] > found.scores[0])
    swapped = {kind: both[::-1] for kind, both in shown.items()}
    assert model.reason(texts="Both show a dog.", **swapped).scores != found.scores
    with pytest.raises(ValueError, match=r"reason needs two pictures, as \(left, right\)"):
        model.reason(texts="Both show a dog.", **pictures(name))


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", presets_of("entailment"))
def test_entail(loaded, name):
    found = loaded(name).entail(texts="A dog sleeps.", **pictures(name))
    order = list(found.probabilities)
    second = "entailment" if name == "uniter_ve" else "neutral"
    assert order[0] == "contradiction" and order[1] == second
    assert found.probability == max(found.probabilities.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*presets_of("referring"), "uniter_re_mlp", "vilbert_beta_grounding"]
)
def test_ground(loaded, name):
    found = loaded(name).ground(texts="the left dog", regions=LEFT)
    extra = int(name.startswith("vilbert"))
    assert len(found.scores) == len(LEFT) + extra
    assert found.region == int(np.argmax(found.scores)) - extra
    if found.region >= 0:
        np.testing.assert_allclose(found.box, LEFT.boxes[found.region], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", presets_of("entities"))
def test_ground_phrases(loaded, name):
    model, text = loaded(name), "A dog sleeps beside the red cat."
    dog, cat = model.ground(texts=text, phrases=["a dog", "Red cat"], regions=LEFT)
    for found in (dog, cat):
        assert len(found.scores) == len(LEFT) and found.region == int(np.argmax(found.scores))
        np.testing.assert_allclose(found.box, LEFT.boxes[found.region], rtol=1e-6)
    assert dog.scores != cat.scores
    # Without phrases the whole text is one, which ends where its last phrase does.
    assert model.ground(texts=text, regions=LEFT).scores == pytest.approx(cat.scores, rel=1e-4)
    both = model.ground(texts=text, regions=[LEFT, RIGHT])
    assert [len(found.scores) for found in both] == [len(LEFT), len(RIGHT)]
    with pytest.raises(ValueError, match='phrase "a cow": it is not in the text'):
        model.ground(texts=text, phrases=["a cow"], regions=LEFT)
    for given, message in (([], "an empty list"), ([3], r"phrases are \[3\], expected texts")):
        with pytest.raises(ValueError, match=message):
            model.ground(texts=text, phrases=given, regions=LEFT)
    with pytest.raises(ValueError, match="`phrases` are of one text about one picture"):
        model.ground(texts=[text], phrases=["a dog"], regions=LEFT)


def test_phrases_for_a_model_that_takes_none(loaded):
    with pytest.raises(ValueError, match="takes a text as one expression: give no `phrases`"):
        loaded("uniter_re").ground(texts="a dog", phrases=["dog"], regions=LEFT)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vilbert_12in1", "uniter_re"])
def test_ground_among_candidates(loaded, name):
    model, task = loaded(name), {"task": "visual7w"} if name == "vilbert_12in1" else {}
    found = model.ground(texts="the left dog", regions=LEFT, candidates=RIGHT, **task)
    assert len(found.scores) == len(RIGHT) and found.region == int(np.argmax(found.scores))
    assert found.box == tuple(map(float, RIGHT.boxes[found.region]))
    two = model.ground(texts="the left dog", regions=[LEFT] * 2, candidates=[RIGHT, LEFT], **task)
    assert two[0].scores == pytest.approx(found.scores, rel=1e-4, abs=1e-5)
    assert len(two[1].scores) == len(LEFT)
    with pytest.raises(ValueError, match="1 pictures and candidates of 2"):
        model.ground(texts="a dog", regions=LEFT, candidates=[LEFT, RIGHT], **task)
    with pytest.raises(ValueError, match="give no `candidates`"):
        loaded("visualbert_flickr").ground(texts="a dog", regions=LEFT, candidates=RIGHT)


def test_a_task_of_several_is_named(loaded, monkeypatch):
    """GuessWhat's dialogues are longer than Visual7W's questions, and have a token of their own."""
    model, asked = loaded("vilbert_12in1"), []

    def compute(function, batch, task):
        asked.append((int(batch["text_mask"].sum()), task))
        return np.zeros((len(batch["text_ids"]), 8))

    monkeypatch.setattr(model, "compute", compute)
    shown = dict(texts="the left dog " * 10, regions=LEFT, candidates=RIGHT)
    for task in ("visual7w", "guesswhat"):
        model.ground(**shown, task=task)
    for task in (None, "refcoco", "refcocog"):
        model.ground(texts="the left dog", regions=LEFT, task=task)
    assert asked == [(20, 4), (32, 17), (5, 9), (5, 9), (5, 11)]
    message = "in several tasks, visual7w, guesswhat: name one, as in task='visual7w'"
    with pytest.raises(ValueError, match=f"ground: this model chooses among candidates {message}"):
        model.ground(**shown)
    with pytest.raises(ValueError, match='Did you mean "guesswhat"\\? Known: visual7w, guesswhat'):
        model.ground(**shown, task="guess_what")
    with pytest.raises(ValueError, match="this model has no tasks to name: give none"):
        loaded("uniter_re").ground(texts="a dog", regions=LEFT, task="refcoco")


def test_questions_are_asked_as_a_task_by_name(loaded):
    model = loaded("vilbert_12in1")
    ask = lambda task: model.answer(questions="is it red?", regions=LEFT, task=task)
    assert ask("vg_qa")[0].score == pytest.approx(ask(2)[0].score, abs=1e-5)
    assert ask("vqa") == ask(None)


@pytest.mark.parametrize("name", presets_of("grounding"))
def test_ground_by_where_the_model_looks(loaded, name):
    """Boxes in pixels of the picture as it was given, whatever the model makes of it."""
    model, boxes = loaded(name), [[0, 0, 9, 12], [4, 4, 20, 20], [0, 0, 2, 2]]
    picture = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    found = model.ground(picture, "the left dog", regions=boxes)
    assert found.region == int(np.argmax(found.scores)) and len(found.scores) == 3
    assert list(found.box) == boxes[found.region] and 0 < found.probability <= 1
    shown = Regions(np.zeros((3, 1), np.float32), np.array(boxes, np.float32), 32, 24)
    assert model.ground(picture, "the left dog", regions=shown) == found
    several = model.ground([picture] * 2, ["a dog", "the left dog"], regions=np.array([boxes] * 2))
    np.testing.assert_allclose(several[1].scores, found.scores, rtol=1e-4)
    one = model.ground(picture, ["a dog", "the left dog"], regions=boxes)
    np.testing.assert_allclose(one[0].scores, several[0].scores, rtol=1e-4)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "this model chooses among boxes: give `regions`"),
        ([[0, 0, 9]], r"regions\[0\] are no boxes.*shape \[1, 3\], expected \[N, 4\]"),
        ([[5, 0, 4, 9]], r"box \[5.0, 0.0, 4.0, 9.0\] is reversed"),
        ([[0, 0, 900, 900]], "lies outside the picture of "),
        ([[0.1, 0.1, 0.5, 0.5]], "they are shares of the picture already"),
        ([["a", 0, 9, 9]], r"regions\[0\] are no boxes .*could not convert"),
        ([[0, 0, 9, 9], [1]], r"regions\[0\] are no boxes"),
        ([[[0, 0, 9, 9]]] * 2, "1 pictures and boxes of 2"),
        (LEFT, "of a picture of 200 x 100 pixels, and the picture has"),
    ],
)
def test_boxes_that_are_none_of_the_picture(loaded, given, message):
    with pytest.raises(ValueError, match=message):
        loaded("albef_grounding").ground(PIXELS[0], "a dog", regions=given)


@pytest.mark.slow
@pytest.mark.parametrize("name", presets_of("multiple_choice"))
def test_choose(loaded, name):
    choices = ["a dog", "a red cat", "nothing at all"]
    found = loaded(name).choose(question="What is it?", choices=choices, regions=LEFT)
    assert found.text == choices[found.index] and len(found.scores) == 3
    assert len(set(found.scores)) == 3
    with pytest.raises(ValueError, match=r"choose was given 1 choice\(s\)"):
        loaded(name).choose(question="What is it?", choices=choices[:1], regions=LEFT)


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*presets_of("retrieval"), "uniter", "lxmert", "visualbert", "vilbert_beta_retrieval"]
)
def test_match_and_retrieve(loaded, name):
    model, both = loaded(name), next(iter(pictures(name, two=True).items()))
    texts = ["a dog", "a red cat on a bed"]
    chances = model.match(texts=texts, **pictures(name))
    assert chances.shape == (2,) and ((chances > 0) & (chances < 1)).all()
    best = model.retrieve(next(iter(pictures(name).values())), texts)
    assert [found.index for found in best] == np.argsort(-chances).tolist()
    assert len(model.retrieve("a dog", list(both[1]))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", presets_of("captioning"))
def test_captions(loaded, name):
    model = loaded(name)
    greedy = model.caption(regions=[LEFT, RIGHT], beams=1, max_length=6)
    assert len(greedy) == 2 and all(caption.ids[0] == model.tokenizer.cls_id for caption in greedy)
    (best,) = model.caption(regions=LEFT, tags=["dog", "cat"], beams=3, max_length=6)
    assert isinstance(best.text, str) and best.score < 0
    wanted = [["lamp"], ["red dog", "cats"]]
    for made in model.caption(regions=[LEFT, RIGHT], constraints=wanted, beams=2, max_length=7):
        assert "lamp" in made.text and ("red dog" in made.text or "cats" in made.text)
    with pytest.raises(ValueError, match="expected up to 3 lists of words"):
        model.caption(regions=LEFT, constraints=["dog"])
    with pytest.raises(ValueError, match="max_length = 41: expected 2 to 40 tokens"):
        model.caption(regions=LEFT, max_length=41)


def test_tags_are_read(loaded):
    model = loaded("oscar_vqa")
    scores = [
        model.answer(questions="what?", regions=LEFT, tags=tags)[0].score
        for tags in (None, "dog;cat", ["dog", "cat"])
    ]
    assert scores[1] == scores[2] != scores[0]
    with pytest.raises(ValueError, match="was not trained with tags"):
        loaded("uniter_vqa").answer(questions="what?", regions=LEFT, tags="dog")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("uniter_vqa", lambda model, text: model.answer(questions=text, regions=LEFT)),
        ("albef_vqa", lambda model, text: model.answer(PIXELS[0], text)),
        ("uniter_retrieval", lambda model, text: model.match(texts=text, regions=LEFT)),
        ("albef_retrieval", lambda model, text: model.match(PIXELS[0], text)),
        ("uniter_retrieval", lambda model, text: model.retrieve(text, [LEFT, RIGHT])),
        ("albef_retrieval", lambda model, text: model.retrieve(text, list(PIXELS))),
    ],
    ids=["answer regions", "answer", "match regions", "match", "retrieve regions", "retrieve"],
)
def test_texts_of_all_lengths_compile_a_few_times(loaded, name, ask):
    known = loaded(name)
    model = Model(known.config, known.params, known.vocabulary, known.rules)  # nothing compiled
    for count in (1, 14, 15, 28, 40, 62, 63, 100):  # on both sides of every padded length
        ask(model, "dog " * count)
    compiled = model.compute.forward()._compiled.values()
    assert 1 <= sum(function._cache_size() for function in compiled) <= 4


@pytest.mark.parametrize("limit", [12, 20, 30, 63, 64, 128, 160, 512])
def test_a_hundred_lengths_are_padded_to_a_few(limit):
    padded = {padded_length(used, limit) for used in range(1, min(limit, 100) + 1)}
    assert len(padded) <= (1 if limit < 64 else 3) and max(padded) <= limit


@pytest.mark.parametrize(
    ("used", "limit", "padded"),
    [(1, 20, 20), (1, 64, 16), (17, 64, 64), (17, 512, 64), (65, 160, 160)],
)
def test_padded_lengths(used, limit, padded):
    assert padded_length(used, limit) == padded


@pytest.mark.slow
def test_a_batch_equals_its_parts(loaded):
    model = loaded("lxmert_vqa")
    questions = ["What?", "Is this a very big dog that sleeps on a red bed, or not?"]
    both = model.answer(questions=questions, regions=[LEFT, RIGHT])
    for question, regions, (answer,) in zip(questions, (LEFT, RIGHT), both):
        (single,) = model.answer(questions=question, regions=regions)
        assert single.text == answer.text
        assert single.score == pytest.approx(answer.score, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "verb", "arguments", "message"),
    [
        ("uniter_vqa", "reason", {}, 'reason needs the head "nlvr2", .* it has vqa; use answer'),
        ("uniter_vqa", "caption", {}, 'caption needs the head "caption"'),
        ("uniter", "caption", {}, "OSCAR's captioners are"),
        ("uniter_re", "answer", {"questions": "what?"}, 'it has re; use ground'),
        ("uniter_vqa", "answer", {"questions": ""}, "text 0 is ''; expected a string with words"),
        ("uniter_vqa", "answer", {"questions": "dog " * 10_000},
         "text 0 has 10002 tokens, more than the 160 positions of the model"),
        ("uniter_vqa", "answer", {"questions": "what?", "images": "a.png"},
         "this model reads region features, not pixels: give `regions`"),
        ("albef_vqa", "answer", {"questions": "what?"}, "this model reads pixels; give `images`"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_explained(loaded, name, verb, arguments, message):
    regions = {} if "images" in arguments else {"regions": LEFT}
    with pytest.raises(ValueError, match=message):
        getattr(loaded(name), verb)(**regions, **arguments)


def test_long_texts_are_cut_where_the_original_cuts_them(loaded):
    long, cut = "dog " * 10_000, "dog " * 18
    for name in ("lxmert_vqa", "visualbert_vqa"):
        assert loaded(name).answer(questions=long, regions=LEFT)
    scores = [loaded("lxmert_vqa").answer(questions=q, regions=LEFT)[0].score for q in (long, cut)]
    assert scores[0] == scores[1]


def test_regions_of_another_detector(loaded):
    other = Regions(np.ones((3, WIDTH + 1), np.float32), LEFT.boxes[:3], 200, 100)
    with pytest.raises(ValueError, match="are 13 wide and the model reads 12"):
        loaded("uniter_vqa").answer(questions="what?", regions=other)


def test_regions_given_as_values_are_checked_like_those_of_files(loaded):
    for change, message in (
        ({"confidence": np.ones(3, np.float32)}, "regions: there are 3 confidence for 12 features"),
        ({"confidence": np.full(12, np.nan, np.float32)}, "regions: confidence reach from nan"),
        ({"boxes": LEFT.boxes / 1000}, "regions: boxes reach to .* they are shares"),
    ):
        with pytest.raises(ValueError, match=message):
            regions = dataclasses.replace(LEFT, **change)
            loaded("uniter_vqa").answer(questions="what?", regions=regions)


def test_wrong_answer_lists(tmp_path, loaded):
    file = write_weights(tmp_path, "uniter_vqa")
    with pytest.raises(ValueError, match='`load` has 1 answers, and the head "vqa" knows 4: it is'):
        vlp_jax.load("uniter_vqa", file, sizes=sizes_of("uniter_vqa"), answers=["yes"])
    nameless = vlp_jax.load("uniter_vqa", file, sizes=sizes_of("uniter_vqa"))
    with pytest.raises(ValueError, match="came without its list of answers"):
        nameless.answer(questions="what?", regions=LEFT)


def test_answer_lists_in_all_forms(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"no": 1, "yes": 0}))
    (tmp_path / "b.json").write_text(json.dumps(["yes", "no"]))
    (tmp_path / "c.txt").write_text("yes\nno\n")
    (tmp_path / "d.json").write_text(json.dumps({"0": "yes", "1": "no"}))
    for file in tmp_path.iterdir():
        assert read_answers(file) == ("yes", "no")
    (tmp_path / "e.json").write_text(json.dumps({"no": 2, "yes": 0}))
    with pytest.raises(ValueError, match="are not 0, 1, 2"):
        read_answers(tmp_path / "e.json")
    with pytest.raises(FileNotFoundError, match=r'Did you mean "e\.json"'):
        read_answers(tmp_path / "ee.json")


@pytest.mark.parametrize("place", [None, (), 0.5, 1])
def test_classes_of_answers_that_are_not_those_of_a_head(place):
    with pytest.raises(ValueError, match="answers: the classes of 1 answers are not 0, 1, 2"):
        read_answers({"yes": place})


def test_regions_in_all_forms(tmp_path, loaded):
    folder = tmp_path / "features"
    folder.mkdir()
    for key, regions in (("a", LEFT), ("b", RIGHT)):
        np.savez(folder / f"{key}.npz", features=regions.features, boxes=regions.boxes,
                 image_w=200, image_h=100)  # fmt: skip
    file = folder / "a.npz"
    for given in (file, str(file), (folder, "a.npz"), (str(folder), ["a.npz"]), [file]):
        (found,) = as_regions(given)
        np.testing.assert_array_equal(found.features, LEFT.features)
    with pytest.raises(ValueError, match=r'no regions of the picture "c.npz".*Did you mean "b.npz'):
        as_regions((folder, "c.npz"))
    with pytest.raises(ValueError, match="holds 2 pictures"):
        as_regions(folder)
    (tmp_path / "words.png").write_text("no picture")
    with pytest.raises(ValueError, match="its ending is none of"):
        as_regions(tmp_path / "words.png")
    with pytest.raises(ValueError, match=r"words.png.*not a picture"):
        loaded("albef_vqa").answer(tmp_path / "words.png", "what?")
    with pytest.raises(ValueError, match=r"regions\[1\] is int, expected `Regions`"):
        as_regions([LEFT, 3])


def test_boxes_with_sizes_of_their_own():
    sizes = np.full((len(LEFT), 2), 0.125, np.float32)
    rules = ZOO["uniter_re"].inputs
    sized = dataclasses.replace(LEFT, box_sizes=sizes)
    boxes = region_fields([sized, RIGHT], rules.global_region, WIDTH)["region_boxes"]
    assert boxes.shape == (2, 16, 7)
    np.testing.assert_allclose(boxes[0, : len(LEFT), 4:], [[0.125, 0.125, 0.125**2]] * len(LEFT))
    spans = boxes[1, : len(RIGHT), 2:4] - boxes[1, : len(RIGHT), :2]
    np.testing.assert_allclose(boxes[1, : len(RIGHT), 4:6], spans, atol=1e-6)


def test_predict_prints_json(tmp_path, capsys):
    weights = write_weights(tmp_path, "uniter_vqa")
    (tmp_path / "answers.txt").write_text("\n".join(ANSWERS))
    np.savez(tmp_path / "a.npz", features=LEFT.features, boxes=LEFT.boxes, image_w=200,
             image_h=100)  # fmt: skip
    (tmp_path / "sizes.json").write_text(json.dumps(sizes_of("uniter_vqa")))
    start = ["predict", "--model", "uniter_vqa", "--weights", str(weights)]
    start += ["--sizes", str(tmp_path / "sizes.json")]
    start += ["--answers", str(tmp_path / "answers.txt"), "--regions", str(tmp_path / "a.npz")]
    assert main([*start, "--question", "What is it?", "--top", "2"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["regions"].endswith("a.npz") and len(line["answers"]) == 2
    assert main([*start, "--ground", "the dog"]) == 1
    assert "use answer" in capsys.readouterr().err


def test_predict_takes_a_picture_with_boxes_to_ground_in(tmp_path, loaded, monkeypatch, capsys):
    import vlp_jax.inference as inference

    monkeypatch.setattr(inference, "load", lambda *_, **__: loaded("albef_retrieval"))
    picture, (height, width) = tmp_path / "a.png", PIXELS[0].shape[:2]
    Image.fromarray(PIXELS[0]).save(picture)
    boxes = np.array([[0, 0, width / 2, height], [width / 2, 0, width, height]], np.float32)
    np.savez(tmp_path / "a.npz", features=LEFT.features[:2], boxes=boxes, image_w=width,
             image_h=height)  # fmt: skip
    start = ["predict", "--model", "albef_retrieval", "--image", str(picture)]
    both = [*start, "--regions", str(tmp_path / "a.npz")]
    assert main([*both, "--ground", "the dog"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["image"] == str(picture) and line["box"] == boxes[line["region"]].tolist()
    assert main([*both, "--text", "a dog"]) == 1
    assert "together are for --ground" in capsys.readouterr().err
    assert main([*start, str(picture), *both[5:], "--ground", "the dog"]) == 1
    assert "2 pictures and regions of 1" in capsys.readouterr().err
    assert main([*start[:3], "--text", "a dog"]) == 1
    assert "give pictures: --image" in capsys.readouterr().err


@pytest.mark.slow
def test_pictures_from_files(tmp_path, loaded):
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    model = loaded("albef_vqa")
    by_path, by_pixels = (model.answer(x, "What?") for x in (tmp_path / "a.png", PIXELS[0]))
    assert by_path == by_pixels


def snippets() -> list[str]:
    docs = Path(__file__).parents[2] / "docs"
    texts = [(docs / page).read_text() for page in ("use.md", "pipelines.md")]
    return [code for text in texts for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)]


@pytest.mark.slow
@pytest.mark.parametrize("code", snippets(), ids=lambda code: code.split('"')[1])
def test_what_the_pages_show_runs(code, loaded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name, pixels in zip(("photo", "other", "photos/one"), [*PIXELS, PIXELS[0]]):
        Image.fromarray(pixels).save(f"{name}.png")
    Path("features").mkdir()
    for name in ("photo", "other"):
        np.savez(f"features/{name}.npz", features=LEFT.features, boxes=LEFT.boxes, image_w=200,
                 image_h=100)  # fmt: skip
    load = lambda name, *given, **options: loaded(name)
    monkeypatch.setattr(vlp_jax, "load", load)
    monkeypatch.setattr("vlp_jax.inference.pipelines.load", load)
    exec(code, {"vlp_jax": vlp_jax, "open_regions": open_regions, "Path": Path})


def test_a_run_reads_texts_as_its_config_says():
    data = DataConfig(text_length=9, max_words=7, regions=5, global_region=True, image_size=32)
    published = ZOO["lxmert_vqa"]
    model = published.from_published(dict(published.sizes) | sizes_of("lxmert_vqa"))
    tasks = {"vqa": {"question_length": 12}}
    config = ExperimentConfig(model=model, data=data, tasks=tasks)
    rules = Model(config, None, Vocabulary(Tokenizer.bert_uncased(), ANSWERS)).rules
    assert (rules.text.length, rules.text.max_words, rules.text.style) == (9, 7, "albef")
    assert rules.text_of("answer").length == 12 and rules.text_of("match").length == 9
    assert rules.regions.max_boxes == 5 and rules.global_region
