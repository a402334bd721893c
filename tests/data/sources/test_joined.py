"""Tests of the source "joined": order, repeats, image ids and errors."""

import json
import pickle

import pytest

from tests.data.sources.tars import write_shards
from vlp_jax.data.sources import EmojiScenes, Joined
from vlp_jax.data.sources.easy_vqa import EasyVqa


@pytest.fixture
def parts(tmp_path):
    """Three pairs in a JSON file, numbered 5 to 7, and four in a shard."""
    entries = [{"image": f"{k}.jpg", "image_id": k, "caption": f"listed {k}"} for k in (5, 6, 7)]
    (tmp_path / "pairs.json").write_text(json.dumps(entries))
    held_out = [{"image": "v.jpg", "image_id": 9, "caption": "held out"}]
    (tmp_path / "held_out.json").write_text(json.dumps(held_out))
    shards = write_shards(tmp_path / "web", shards=1, size=4)
    listed = {"path": str(tmp_path / "pairs.json")}
    listed["validation_path"] = str(tmp_path / "held_out.json")
    return {
        "listed": {"kind": "json", **listed},
        "web": {"kind": "webdataset", "path": str(shards), "holdout": 0},
    }


def test_records_follow_one_another_and_repeat(parts):
    source = Joined(parts=parts, repeats={"listed": 2})
    captions = [source[k]["captions"][0] for k in range(len(source))]
    listed = ["listed 5", "listed 6", "listed 7"]
    assert captions == [*listed, *listed, *(f"caption {k}" for k in range(4))]
    assert [source[k]["image_id"] for k in range(len(source))] == [
        *(10, 12, 14),
        *(10, 12, 14),
        *(1, 3, 5, 7),
    ]
    assert source.provides == {"image", "caption"} and source.attribution == "User-supplied data."
    assert set(source.texts()) == set(captions)
    assert pickle.loads(pickle.dumps(source))[8] == source[8]
    with pytest.raises(IndexError, match="10 records"):
        source[10]


def test_only_what_all_parts_provide_is_promised():
    questions = {"kind": "easy_vqa"}
    scenes = {"kind": "emoji_scenes", "size": 20}
    source = Joined(parts={"a": questions, "b": scenes})
    assert {"image", "question"} <= source.provides  # easy_vqa has neither captions nor regions
    assert not {"caption", "regions"} & source.provides
    assert set(source.answers()) > {"yes"}
    assert {source[0]["question"], source[len(source) - 1]["question"]} <= set(source.texts())


def test_parts_need_no_answers(parts):
    assert Joined(parts={"web": parts["web"]}).answers() == ()
    questions = Joined(parts={"a": {"kind": "easy_vqa"}, "web": parts["web"]})
    assert {"yes", "no"} <= set(questions.answers())


def test_a_list_of_answers_that_all_parts_share_keeps_its_order(monkeypatch):
    questions = {"kind": "easy_vqa"}
    monkeypatch.setattr(EasyVqa, "answers", lambda self: ("yes", "", "no"))
    both = {"a": questions, "b": questions}
    assert Joined(parts=both).answers() == ("yes", "", "no")
    scenes = {"kind": "emoji_scenes", "size": 20}
    mixed = Joined(parts=both | {"c": scenes}).answers()
    assert mixed == tuple(sorted({*EmojiScenes(size=20).answers(), "yes", "", "no"}))


def test_annotations_are_read_without_pictures(tmp_path):
    asked = [{"qa_id": n, "image_id": 7, "question": f"{n}?", "answer": "a"} for n in range(4)]
    (tmp_path / "genome.json").write_text(json.dumps([{"id": 7, "qas": asked}]))
    genome = {"kind": "annotated", "form": "vg_qa", "path": str(tmp_path / "genome.json")}
    genome |= {"images": str(tmp_path), "splits": {"train": "all"}}
    source = Joined(parts={"scenes": {"kind": "emoji_scenes", "size": 20}, "genome": genome})
    first = len(source) - 4
    assert [source.annotation(first + n)["question"] for n in range(4)] == ["0?", "1?", "2?", "3?"]
    assert "image" not in source.annotation(first) and source[first]["image_id"] == 1
    assert source.annotation(3)["image_id"] == source[3]["image_id"]


def test_class_names_are_those_that_all_parts_share(parts, monkeypatch):
    scenes = {"kind": "emoji_scenes", "size": 20}
    both = pickle.loads(pickle.dumps(Joined(parts={"a": scenes, "b": scenes | {"size": 30}})))
    alone = EmojiScenes(size=20)
    assert both.region_classes() == alone.region_classes()
    assert both.region_attributes() == alone.region_attributes()
    assert Joined(parts={"a": scenes, "web": parts["web"]}).region_classes() == ()
    monkeypatch.setattr(EmojiScenes, "region_attributes", lambda self: (f"of {self.canvas}",))
    other = Joined(parts={"a": scenes, "b": scenes | {"canvas": 32}})
    assert other.region_classes() and other.region_attributes() == ()


def test_skipped_records_carry_the_name_of_their_part(parts, tmp_path):
    entries = [{"image": "a.jpg", "caption": "a"}, {"image": "b.jpg", "caption": ""}]
    (tmp_path / "pairs.json").write_text(json.dumps(entries))
    source = Joined(parts=parts)
    assert source.skipped == [f"listed: {tmp_path / 'pairs.json'} entry 1: empty caption"]


def test_mistakes_say_what_is_expected(parts):
    web = parts["web"]
    for options, message in (
        ({}, "needs `parts`"),
        ({"path": "x", "parts": parts}, r"takes no path \(x\)"),
        ({"parts": {"a": {"path": "x"}}}, 'part "a" of source joined: kind: unknown source "None"'),
        ({"parts": {"a": {"kind": "webdatset"}}}, 'Did you mean "webdataset"'),
        ({"parts": {"web": web | {"holdot": 1}}}, 'part "web" .*Did you mean "holdout"'),
        ({"parts": parts, "split": "test"}, "split 'test' is empty"),
        ({"parts": parts, "repeats": {"wep": 2}}, '"wep".*Did you mean "web"'),
        ({"parts": parts, "repeats": {"web": 0.5}}, "repeats.web is 0.5; expected an integer"),
        ({"parts": {"web": web, "sprites": {"kind": "easy_vqa"}}, "repeat": {}}, '"repeats"'),
    ):
        with pytest.raises(ValueError, match=message):
            Joined(**options)
    with pytest.raises(FileNotFoundError, match='part "web" of source joined: shards .*nowhere'):
        Joined(parts={"web": {"kind": "webdataset", "path": "/nowhere.tar"}})


def test_image_ids_that_do_not_fit_are_refused(parts, tmp_path):
    entries = [{"image": "a.jpg", "image_id": 2**30, "caption": "a"}]
    (tmp_path / "pairs.json").write_text(json.dumps(entries))
    with pytest.raises(ValueError, match="1073741824 of part listed is too large to join 2 parts"):
        Joined(parts=parts)[0]


def test_each_image_of_each_part_once(tmp_path):
    entries = [{"image": f"{k // 2}.jpg", "caption": f"caption {k}"} for k in range(6)]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    part = {"kind": "json", "path": str(tmp_path / "a.json"), "holdout": 0}
    source = Joined(parts={"a": part, "b": part}, repeats={"b": 3})
    ids = [source[k]["image_id"] for k in range(len(source))]
    assert source.image_ids().tolist() == ids and len(source) == 24
    once = source.by_image()
    assert len(once) == 6 and len(source) == 24
    assert once[4]["captions"] == ["caption 2", "caption 3"]
    assert (
        once.image_ids().tolist() == [once[k]["image_id"] for k in range(6)] == [0, 2, 4, 1, 3, 5]
    )
