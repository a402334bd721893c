"""Visual7W and GuessWhat: which boxes of a picture may be chosen, from the published files."""

import json
import pickle

import numpy as np
import pytest

from tests.data.regions.pictures import random_regions
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.sources.pointing_files import candidates

V7W = {
    "images": [
        {
            "filename": "v7w_7.jpg",
            "image_id": 7,
            "split": "train",
            "qa_pairs": [
                {"qa_id": 1, "question": "Which is red?", "answer": 30, "multiple_choices": [10]},
                {"qa_id": 2, "question": "Which is a dog?", "answer": 10, "multiple_choices": [20]},
            ],
        }
    ]
}
GAME = {
    "id": 5,
    "image": {"id": 9, "file_name": "9.jpg"},
    "qas": [
        {"question": "is it a dog?", "answer": "No"},
        {"question": "a cat?", "answer": "Yes"},
    ],
    "objects": [{"id": 44}, {"id": 22}],
    "object_id": 44,
}


def write_regions(folder, name, count):
    folder.mkdir(exist_ok=True)
    regions = random_regions(np.random.default_rng(), width=6)
    rows = np.resize(np.arange(len(regions)), count)
    fields = {"features": regions.features[rows], "boxes": regions.boxes[rows]}
    size = {"image_w": regions.width, "image_h": regions.height}
    np.savez(folder / f"{name}.npz", **fields, **size)


@pytest.fixture
def opened(tmp_path):
    write_regions(tmp_path / "found", "7", 3)
    write_regions(tmp_path / "given", "7", 3)
    write_regions(tmp_path / "found", "9", 3)
    write_regions(tmp_path / "given", "9", 4)
    (tmp_path / "v7w.json").write_text(json.dumps(V7W))
    (tmp_path / "train.jsonl").write_text(json.dumps(GAME))
    boxes = {9: {"bboxes": [44, 22, 33, 11, 22], "image_size": (4, 4)}}
    (tmp_path / "boxes.pkl").write_bytes(pickle.dumps(boxes))

    def opened(form, path, **options):
        shared = dict(store="npz", key="{id}.npz", features=str(tmp_path / "found"))
        shared |= dict(candidates=str(tmp_path / "given"))
        if form == "guesswhat":
            shared["beside"] = str(tmp_path / "boxes.pkl")
        return SOURCES["annotated"](form=form, path=str(tmp_path / path), **shared | options)

    return opened


def test_visual7w(opened):
    source = opened("visual7w", "v7w.json")
    assert source.provides >= {"caption", "candidates", "region_features"}
    first, second = source[0], source[1]
    # Boxes 10, 20 and 30 are those of all questions.
    assert (first["candidate_rows"], first["right_row"]) == ([0, 2], 2)
    assert (second["candidate_rows"], second["right_row"]) == ([0, 1], 0)
    assert first["captions"] == ["Which is red?"] and first["name"] == 1
    assert len(first["candidates"]["boxes"]) == 3
    assert "candidates" not in source.annotation(0)


def test_guesswhat(opened):
    record = opened("guesswhat", "{split}.jsonl")[0]
    # Sorted ids are 11, 22, 33, 44.
    assert (record["candidate_rows"], record["right_row"]) == ([1, 3], 3)
    text = "start is it a dog? answer No stop start a cat? answer Yes stop"
    assert record["captions"] == [text] and record["name"] == 5


def test_features_of_other_boxes_than_are_annotated(opened, tmp_path):
    write_regions(tmp_path / "given", "7", 4)
    with pytest.raises(ValueError, match="has 4 boxes of the picture, and 3 are annotated"):
        opened("visual7w", "v7w.json")[0]


@pytest.mark.parametrize(
    ("known", "chosen", "right", "message"),
    [
        ([1, 2], [1, 3], 1, "box 3 is none of the 2 of its picture"),
        ([1, 2], [1], 2, r"the right box 2 is not among those to choose from: \[1\]"),
    ],
)
def test_boxes_that_are_not_there(known, chosen, right, message):
    with pytest.raises(ValueError, match=message):
        candidates(known, chosen, right)


@pytest.mark.parametrize(
    ("form", "options", "message"),
    [
        ("visual7w", {"candidates": None}, "the form visual7w needs `store` and `candidates`"),
        ("guesswhat", {"beside": None}, "the form guesswhat needs `beside`"),
        ("karpathy", {}, "the form karpathy has no `candidates`"),
    ],
)
def test_files_that_a_form_needs(opened, form, options, message):
    path = "{split}.jsonl" if form == "guesswhat" else "v7w.json"
    with pytest.raises(ValueError, match=message):
        opened(form, path, **options)


def test_a_picture_that_the_list_of_boxes_lacks(opened, tmp_path):
    (tmp_path / "boxes.pkl").write_bytes(pickle.dumps({8: {"bboxes": [1]}}))
    with pytest.raises(ValueError, match="boxes.pkl has no boxes of the picture 9"):
        opened("guesswhat", "{split}.jsonl")


def test_pictures_of_test_sets_are_left_out_of_training(opened, tmp_path):
    more = V7W["images"][0] | {"image_id": 9, "split": "train"}
    both = {"images": [V7W["images"][0], more, more | {"split": "val"}]}
    (tmp_path / "both.json").write_text(json.dumps(both))
    write_regions(tmp_path / "given", "9", 3)
    np.save(tmp_path / "test_ids.npy", np.array([9, 12]))
    options = dict(exclude=(str(tmp_path / "test_ids.npy"),))
    source = opened("visual7w", "both.json", **options)
    assert len(source) == 2 and not source.skipped
    assert len(opened("visual7w", "both.json", split="validation", **options)) == 2
