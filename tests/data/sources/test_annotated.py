"""Source "annotated": the published files of each task, as small copies, and what is wrong."""

import json
import pickle

import numpy as np
import pytest

from tests.data.regions.pictures import random_pictures
from vlp_jax.config import DataConfig
from vlp_jax.data.assemble import Feed, make_chain
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.task_files import FORMS
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary

NLVR2 = [
    {"identifier": f"train-{i}-0-0", "sentence": f"sentence {i}", "label": label, "directory": 7}
    for i, label in enumerate(("True", "False"))
]
VE = [
    {"Flickr30K_ID": str(i), "sentence2": f"s{i}", "gold_label": label, "pairID": f"{i}.jpg#0r1"}
    for i, label in enumerate(("entailment", "-", "neutral"))
]
QUESTIONS = {
    "data_subtype": "val2014",
    "questions": [
        {"image_id": 42, "question": "is it?", "question_id": 420},
        {"image_id": 42, "question": "what?", "question_id": 421},
    ],
}
ANNOTATIONS = {
    "annotations": [
        {
            "question_id": 420 + i,
            "image_id": 42,
            "answer_type": kind,
            "multiple_choice_answer": usual,
            "answers": [{"answer": a, "answer_id": n} for n, a in enumerate(answers)],
        }
        for i, (kind, usual, answers) in enumerate(
            [("yes/no", "yes", ["yes"] * 7 + ["no"] * 3), ("other", "cat", ["cat"] * 10)]
        )
    ]
}
GQA = {
    "07": {
        "question": "red?",
        "answer": "yes",
        "imageId": "n1",
        "isBalanced": True,
        "groups": {"global": None},
        "entailed": [],
        "types": {"structural": "verify", "semantic": "attr", "detailed": "x"},
        "semantic": [],
    }
}
COCO = {
    "images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 10}, {"id": 2}],
    "annotations": [
        {"id": 5, "image_id": 1, "caption": "a cat", "bbox": [2, 1, 10, 5]},
        {"id": 6, "image_id": 1, "caption": "the cat", "bbox": [0, 0, 1, 1]},
    ],
}
KARPATHY = {
    "images": [
        {"filename": f"{s}.jpg", "filepath": "val2014", "cocoid": i, "split": s}
        | {"sentences": [{"raw": f"a {s}"}, {"raw": "b"}]}
        for i, s in enumerate(("train", "restval", "val", "test"))
    ]
}
REFS = [
    {"ref_id": 1, "ann_id": 5, "image_id": 1, "split": split}
    | {"sentences": [{"sent_id": n, "sent": "cat", "raw": "Cat"}, {"sent_id": n + 1, "sent": "b"}]}
    for n, split in ((3, "train"), (8, "testA"))
]
VCR = {
    "annot_id": "train-0",
    "img_fn": "movie/1.jpg",
    "objects": ["person", "dog", "person"],
    "question": ["why", "is", [0, 2], "near", [1], "?"],
    "answer_choices": [[[0], "jumps"], ["b"], ["c"], ["d"]],
    "rationale_choices": [["r0"], ["r1"], ["r2"], ["r3"]],
    "answer_label": 0,
    "rationale_label": 2,
}


def lines(rows):
    return "\n".join(map(json.dumps, rows))


@pytest.fixture
def opened(tmp_path):
    def open_it(form, split="train", **options):
        named = {name: tmp_path / "{split}.json" for name in ("path",) if name not in options}
        return SOURCES["annotated"](
            split=split, form=form, **{"images": tmp_path} | named | options
        )

    for name, text in {
        "nlvr2": lines(NLVR2),
        "ve": lines(VE),
        "questions": json.dumps(QUESTIONS),
        "annotations": json.dumps(ANNOTATIONS),
        "gqa": json.dumps(GQA),
        "coco": json.dumps(COCO),
        "karpathy": json.dumps(KARPATHY),
        "vcr": lines([VCR, VCR]),
    }.items():
        (tmp_path / f"{name}.json").write_text(text)
    (tmp_path / "refs.p").write_bytes(pickle.dumps(REFS, 2))
    return open_it


def only(source):
    return [source[i] for i in range(len(source))]


def test_two_pictures_and_a_sentence(opened, tmp_path):
    source = opened("nlvr2", splits={"train": "nlvr2"}, key="{directory}/{file}")
    first, second = only(source)
    assert first["captions"] == ["sentence 0"] and first["label"] == "True"
    assert [p["image"] for p in second["pictures"]] == [
        str(tmp_path / f"7/train-1-0-img{side}.png") for side in (0, 1)
    ]
    assert [p["image_id"] for p in first["pictures"]] == [0, 1] and second["image_id"] == 2
    assert source.provides == {"pictures", "caption", "label", "image"}
    assert list(source.texts()) == ["sentence 0", "sentence 1"]


def test_entailment_without_those_that_annotators_disagree_on(opened):
    found = only(opened("snli_ve", splits={"train": "ve"}))
    assert [(r["label"], r["captions"]) for r in found] == [
        ("entailment", ["s0"]), ("neutral", ["s2"])
    ]  # fmt: skip
    assert found[1]["image"].endswith("/2.jpg") and found[1]["name"] == "2.jpg#0r1"


def test_questions_with_annotations_and_a_list_of_answers(opened, tmp_path):
    files = dict(path=tmp_path / "{split}.json", beside=tmp_path / "annotations.json")
    files["splits"] = {"train": "questions"}
    (tmp_path / "list.json").write_text(json.dumps(["no", "yes", "cat"]))
    source = opened("vqa_v2", answer_list=tmp_path / "list.json", **files)
    first, second = only(source)
    assert first["answers"] == {"yes": 0.7, "no": 0.3} and first["annotators"] == 10
    assert first["image"].endswith("COCO_val2014_000000000042.jpg") and first["name"] == 420
    assert second["question_type"] == "other"
    assert source.answers() == ("no", "yes", "cat")
    assert opened("vqa_v2", **files).answers() == ()  # none occurs nine times
    ANNOTATED = [dict(ANNOTATIONS["annotations"][0])]
    (tmp_path / "annotations.json").write_text(json.dumps({"annotations": ANNOTATED}))
    with pytest.raises(ValueError, match="no annotation of 1 of the 2 questions .* such as 421"):
        opened("vqa_v2", **files)


def test_a_test_split_has_no_annotations(opened, tmp_path):
    options = dict(splits={"test": "questions"}, beside=tmp_path / "none_{split}.json")
    assert "answers" not in opened("vqa_v2", "test", **options)[0]
    with pytest.raises(FileNotFoundError, match="none_questions.json does not exist"):
        opened("vqa_v2", "train", splits={"train": "questions"}, beside=options["beside"])


def test_gqa_keeps_what_its_metric_reads(opened):
    (train,) = only(opened("gqa", splits={"train": "gqa"}))
    (held,) = only(opened("gqa", "validation", splits={"validation": "gqa"}))
    assert train["answers"] == {"yes": 1.0} and "official" not in train
    assert held["official"]["types"]["structural"] == "verify" and held["name"] == "07"


@pytest.mark.parametrize(("split", "names"), [("train", [1, 3]), ("validation", [5, 8])])
def test_questions_of_visual_genome(opened, tmp_path, split, names):
    asked = lambda number: {"qa_id": number, "image_id": 2, "question": "?", "answer": " A Dog. "}
    content = [{"id": 2, "qas": [asked(8), asked(1)]}, {"id": 4, "qas": [asked(5), asked(3)]}]
    (tmp_path / "genome.json").write_text(json.dumps(content))
    found = only(opened("vg_qa", split, path=tmp_path / "genome.json"))
    assert [record["name"] for record in found] == names  # in half, for there are so few
    assert found[0]["answers"] == {"a dog": 1.0} and found[0]["image"] == str(tmp_path / "2.jpg")


def asked_of_genome(tmp_path):
    """Writes four questions, of which one is answered by a word that is in no list."""
    answers = zip((8, 1, 5, 3), ("Dog.", "cat", "sofa", "dog"))
    asked = [{"qa_id": n, "image_id": 2, "question": "?", "answer": a} for n, a in answers]
    (tmp_path / "genome.json").write_text(json.dumps([{"id": 2, "qas": asked}]))
    (tmp_path / "answers.json").write_text(json.dumps(["dog", "", "cat"]))
    options = dict(path=tmp_path / "genome.json", answer_list=str(tmp_path / "answers.json"))
    return options | dict(splits={"train": "all"})


def test_all_questions_of_visual_genome_weigh_half(opened, tmp_path):
    options = asked_of_genome(tmp_path)
    found = only(opened("vg_qa", answer_weight=0.5, **options))
    wanted = [(1, "cat"), (3, "dog"), (5, "sofa"), (8, "dog")]
    assert [(r["name"], r["answers"]) for r in found] == [(n, {a: 0.5}) for n, a in wanted]
    measured = only(opened("vg_qa", "validation", answer_weight=0.5, **options))
    assert [r["answers"] for r in measured] == [{"sofa": 1.0}, {"dog": 1.0}]


def test_only_questions_with_a_known_answer(opened, tmp_path):
    options = asked_of_genome(tmp_path)
    assert [r["name"] for r in only(opened("vg_qa", listed=True, **options))] == [1, 3, 8]
    measured = only(opened("vg_qa", "validation", listed=True, **options))
    assert [r["name"] for r in measured] == [5, 8]
    with pytest.raises(ValueError, match="listed = True needs `answer_list`, the answers that are"):
        opened("vg_qa", listed=True, path=tmp_path / "genome.json")
    with pytest.raises(ValueError, match="has one answer, and vqa_v2 is none: leave it out"):
        opened("vqa_v2", answer_weight=0.5)
    with pytest.raises(ValueError, match=r"answer_weight = 1.5: must be in \[0, 1\]"):
        opened("vg_qa", answer_weight=1.5, **options)


@pytest.mark.parametrize(("split", "names"), [("train", [0, 1]), ("validation", [2])])
def test_karpathys_splits(opened, tmp_path, split, names):
    found = only(opened("karpathy", split, path=tmp_path / "karpathy.json"))
    assert [r["name"] for r in found] == names and len(found[0]["captions"]) == 2
    assert "/val2014/" in found[0]["image"]


def test_captions_of_coco_by_picture(opened):
    (only_one,) = only(opened("coco_captions", splits={"train": "coco"}))
    assert only_one["captions"] == ["a cat", "the cat"] and only_one["name"] == 1


def test_expressions_with_their_box_in_the_unit_square(opened, tmp_path):
    files = dict(path=tmp_path / "refs.p", beside=tmp_path / "coco.json")
    source = opened("refcoco", "test", splits={"test": "testA"}, **files)
    first, second = only(source)
    np.testing.assert_allclose(first["target_box"], [0.1, 0.1, 0.6, 0.6])
    assert first["captions"] == ["Cat"] and second["captions"] == ["b"]
    assert [r["name"] for r in (first, second)] == [8, 9] and first["picture_size"] == [20, 10]
    with pytest.raises(ValueError, match='no split "val", it has testA, train'):
        opened("refcoco", "validation", **files)


def test_expressions_with_the_boxes_that_a_detector_proposes(opened, tmp_path):
    files = dict(path=tmp_path / "refs.p", beside=tmp_path / "coco.json")
    files |= dict(splits={"test": "testA"}, proposals=tmp_path / "dets.json")
    detected = tmp_path / "dets.json"
    detected.write_text(json.dumps({"1": [[2, 1, 10, 5, 0.9], [0, 0, 4, 4]], "7": []}))
    source = opened("refcoco", "test", **files)
    assert "proposals" in source.provides and source.skipped == []
    for record in (source[0], source.annotation(1)):
        assert record["proposals"].tolist() == [[2, 1, 10, 5], [0, 0, 4, 4]]
    detected.write_text(json.dumps({"7": []}))
    with pytest.raises(ValueError, match='no usable entries: no proposals for the picture "1"'):
        opened("refcoco", "test", **files)
    for wrong in ([[1, 2, 3]], 5, [[0, 0, -1, 2]]):
        detected.write_text(json.dumps({"1": wrong}))
        with pytest.raises(ValueError, match="dets.json: the boxes of picture 1"):
            opened("refcoco", "test", **files)


def test_choices_name_persons_and_objects(opened):
    answer, why, *_ = only(opened("vcr", splits={"train": "vcr"}))
    assert answer["question"] == "why is Casey and Jessie near dog ?" and answer["label"] == 0
    assert answer["choices"][0] == "Casey jumps" and why["given"] == "Casey jumps"
    assert why["label"] == 2 and why["about"] == "rationale 0"
    assert len(opened("vcr", "validation", splits={"validation": "vcr"})) == 10


def test_regions_come_from_a_store(tmp_path, opened):
    names = [f"train-0-0-img{side}" for side in (0, 1)]
    pictures = random_pictures(2)
    for name, regions in zip(names, pictures.values()):
        np.savez(
            tmp_path / f"{name}.npz",
            features=regions.features,
            norm_bb=np.tile(np.float32([0, 0, 1, 1, 1, 1]), (len(regions), 1)),
            conf=np.ones(len(regions), np.float32),
            image_w=4,
            image_h=4,
        )
    options = dict(splits={"train": "nlvr2"}, store="npz", features=tmp_path, key="{id}.npz")
    source = SOURCES["annotated"](form="nlvr2", path=tmp_path / "{split}.json", **options)
    (record,) = only(source)
    first = next(iter(pictures.values()))
    assert record["pictures"][0]["region_features"].shape == first.features.shape
    assert source.skipped == ['no regions of the picture "train-1-0-img0.npz"']
    assert "region_features" in source.provides and "image" not in source.provides
    assert "region_features" not in source.annotation(0)
    words = Vocabulary(Tokenizer.fit(["sentence"]))
    feed = Feed(DataConfig(regions=3, text_length=8), source.provides, words, train=True)
    made = make_chain(feed, lambda feed: ())(record, np.random.default_rng(0))
    assert made["region_features"].shape[:2] == made["region_mask"].shape == (2, 3)
    assert made["text_ids"].shape == (8,) and made["image_id"] == 0


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("nlvr", {}, 'unknown .*"nlvr".*Did you mean "nlvr2"'),
        ("nlvr2", {"path": "a.json"}, "{split}.* has to stand"),
        ("refcoco", {"path": "refs.p"}, "needs `beside`"),
        ("nlvr2", {"beside": "x"}, "no second file"),
        ("nlvr2", {"images": None}, "either `images`"),
        ("nlvr2", {"splits": {"train": "ve"}}, 'no "identifier", it has Flickr30K_ID'),
        (
            "vqa_v2",
            {"splits": {"train": "list"}},
            '"vqa_v2", after 0 entries: expected an object',
        ),
        ("vcr", {"splits": {"train": "unlabelled"}}, '"answer_label" of train-0 is None'),
        ("vcr", {"splits": {"train": "objects"}}, "after 2 entries: .* object 3, and there are 3"),
        ("gqa", {"splits": {"train": "list"}}, "expected a JSON object"),
        ("nlvr2", {"splits": {"train": "nlvr2"}, "key": "{idd}"}, "key = .*cannot be made"),
    ],
)
def test_what_is_wrong_is_said(opened, tmp_path, form, options, message):
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "unlabelled.json").write_text(lines([VCR | {"answer_label": None}] * 2))
    (tmp_path / "objects.json").write_text(lines([VCR, VCR | {"question": [[3]]}]))
    with pytest.raises(ValueError, match=message):
        opened(form, **options)


def test_every_form_is_tried_here():
    # test_entity_files.py, test_pointing_files.py
    elsewhere = {"flickr30k_entities", "visual7w", "guesswhat"}
    assert set(FORMS) - elsewhere == {
        "nlvr2", "snli_ve", "vqa_v2", "gqa", "karpathy", "coco_captions", "refcoco", "vcr",
        "vg_qa",
    }  # fmt: skip
