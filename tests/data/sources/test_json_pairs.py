"""Tests of the source "json": reading, validation and splits of a user's own data."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlp_jax.data.sources import JsonPairs
from vlp_jax.data.sources.base import stable_fraction
from vlp_jax.data.sources.json_pairs import split_by_image


def write(folder, content, name="pairs.json"):
    file = folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def pairs(count, **extra):
    return [{"image": f"images/{k}.jpg", "caption": f"caption {k}", **extra} for k in range(count)]


def records(source):
    return [source[i] for i in range(len(source))]


def test_captions_and_relative_paths(tmp_path):
    content = pairs(40)
    content[0]["caption"] = ["one", " two ", ""]
    path = write(tmp_path, content)
    everything = records(JsonPairs(path=path)) + records(JsonPairs(split="test", path=path))
    found = {record["image"]: record["captions"] for record in everything}
    assert found[str(tmp_path / "images/0.jpg")] == ["one", "two"]
    assert len(found) == 40 and JsonPairs(path=path).provides == {"image", "caption"}
    assert len({record["image_id"] for record in everything}) == 40
    rooted = JsonPairs(path=path, image_root=str(tmp_path.parent))
    assert rooted[0]["image"].startswith(str(tmp_path.parent / "images"))


def test_several_files_and_a_validation_file(tmp_path):
    first, second = write(tmp_path, pairs(3), "a.json"), write(tmp_path, pairs(5), "b.json")
    other = write(tmp_path, [{"image": "/v.jpg", "caption": "held out"}], "v.json")
    options = {"path": f"{first}, {second}", "validation_path": other}
    assert len(JsonPairs(**options)) == 8
    for split in ("validation", "test"):
        assert JsonPairs(split=split, **options)[0]["captions"] == ["held out"]
    assert list(JsonPairs(**options).texts())[:2] == ["caption 0", "caption 1"]


def test_questions_and_answers(tmp_path):
    answers = ["red", ["red", "red", "dark red", "red"], {"blue": 0.3, "navy": 1}]
    content = [
        {"image": f"{k}.jpg", "question": "what color?", "answer": answer}
        for k, answer in enumerate(answers)
    ]
    source = JsonPairs(path=write(tmp_path, content), validation_path=write(tmp_path, content))
    assert source.provides == {"image", "question", "more_questions"}
    assert source.answers() == ("blue", "dark red", "navy", "red")
    assert [record["answers"] for record in records(source)] == [
        {"red": 1.0},
        {"red": 0.75, "dark red": 0.25},
        {"blue": 0.3, "navy": 1.0},
    ]


def test_questions_about_one_image_know_each_other(tmp_path):
    content = [
        {"image": f"{k // 2}.jpg", "question": f"question {k}?", "answer": str(k)} for k in range(5)
    ]
    source = JsonPairs(path=write(tmp_path, content), validation_path=write(tmp_path, content))
    others = [[q["question"] for q in record["more_questions"]] for record in records(source)]
    assert others == [["question 1?"], ["question 0?"], ["question 3?"], ["question 2?"], []]
    assert source[0]["more_questions"][0]["answers"] == {"1": 1.0}


def test_image_ids_given_as_numbers_stay_and_texts_are_numbered(tmp_path):
    content = pairs(3, image_id=77)
    other = write(tmp_path, pairs(1), "v.json")
    numbered = JsonPairs(path=write(tmp_path, content), validation_path=write(tmp_path, content))
    assert {record["image_id"] for record in records(numbered)} == {77}
    named = pairs(3, image_id="coco_7") + pairs(4, image_id="coco_9")[3:]
    source = JsonPairs(path=write(tmp_path, named), validation_path=other)
    assert [record["image_id"] for record in records(source)] == [0, 0, 0, 1]


@pytest.mark.parametrize("ids", [[0, 1], ["a", "b"], [7, None], [None, 7]])
def test_a_picture_of_two_identities_is_refused(tmp_path, ids):
    """A running number under "image_id" would make each caption's picture another candidate."""
    content = [pairs(1)[0] | ({} if i is None else {"image_id": i}) for i in ids] + pairs(3)[1:]
    with pytest.raises(
        ValueError, match=r'/0.jpg" has another "image_id" in a later entry \(1 such'
    ):
        JsonPairs(path=write(tmp_path, content))


def test_empty_captions_are_skipped_and_listed(tmp_path):
    content = pairs(6)
    content[2]["caption"], content[4]["caption"] = "  ", ["", ""]
    path = write(tmp_path, content)
    source = JsonPairs(path=path, validation_path=write(tmp_path, pairs(1), "v.json"))
    assert len(source) == 4
    assert source.skipped == [f"{path} entry 2: empty caption", f"{path} entry 4: empty caption"]
    # Each split lists its own; an image's place does not depend on what else is there.
    held_out = JsonPairs("validation", path=write(tmp_path, pairs(20), "w.json"), holdout=0.5)
    own = {held_out.image_key(i) for i in range(len(held_out))}
    content = [
        entry | {"caption": ""} if i in (2, 4, 9, 11) else entry
        for i, entry in enumerate(pairs(20))
    ]
    path = write(tmp_path, content, "x.json")
    listed = {
        split: JsonPairs(split, path=path, holdout=0.5).skipped for split in ("train", "test")
    }
    for place in (2, 4, 9, 11):
        split = "test" if content[place]["image"] in own else "train"
        assert f"{path} entry {place}: empty caption" in listed[split]


def test_lone_surrogates_are_replaced(tmp_path):
    half = "\ud83d"
    entry = {"image": f"{half}.jpg", "caption": ["a", f"b {half}"], "image_id": half}
    entry |= {"question": f"{half}?", "answer": {f"yes {half}": 1}}
    path = write(tmp_path, [entry, entry | {"image": "1.jpg", "image_id": "1"}])
    source = JsonPairs(path=path, holdout=0)
    record = source[0]
    assert record["image"] == f"{tmp_path}/\ufffd.jpg" and record["image_id"] == 0
    assert record["captions"] == ["a", "b \ufffd"] and record["question"] == "\ufffd?"
    assert record["answers"] == {"yes \ufffd": 1} and source.answers() == ("yes \ufffd",)
    assert len(JsonPairs("test", path=path)) == 1  # chosen by a hash of the text


BAD = {
    "not a list": ({"image": "a.jpg", "caption": "x"}, "expected a list .* found dict"),
    "empty list": ([], "no entries to use, the list is empty"),
    "only empty captions": ([{"image": "a", "caption": ""}], "all 1 have an empty caption"),
    "not an object": (pairs(1) + ["x"], "entry 1: expected an object with keys, found str"),
    "missing image": ([{"img": "a", "caption": "x"}], '"image" is missing; .*caption.*img'),
    "misspelt caption": (
        pairs(3) + [{"image": "a", "captions": "x"}],
        'entry 3: key "caption" is missing; found keys .*Rename "captions"',
    ),
    "no caption at all": ([{"image": "a"}], '"caption" is missing'),
    "question without answer": ([{"image": "a", "question": "q"}], '"answer" is missing'),
    "caption of wrong type": ([{"image": "a", "caption": 3}], 'entry 0: "caption" is 3'),
    "image of wrong type": ([{"image": None, "caption": "x"}], '"image" is None'),
    "image id of wrong type": (pairs(1, image_id=1.5), '"image_id" is 1.5'),
    "image id too large": (pairs(1, image_id=2**31), '"image_id" is 2147483648'),
    "score out of range": (pairs(1, question="q", answer={"a": 2}), 'answer "a" has score 2'),
    "no answers": (pairs(1, question="q", answer=[]), r'"answer" is \[\]'),
    "not JSON": ("[{]", "not valid JSON: .*line 1"),
    "duplicate key": (
        '[{"image": "a", "caption": "x", "caption": "y"}]',
        'key "caption" appears twice in .*y',
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_files_say_where(case, tmp_path):
    content, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        JsonPairs(path=write(tmp_path, content))


def test_missing_file_and_bad_options(tmp_path):
    path = write(tmp_path, pairs(3))
    with pytest.raises(FileNotFoundError, match='Did you mean "pairs.json"'):
        JsonPairs(path=str(tmp_path / "pair.json"))
    with pytest.raises(ValueError, match="needs `path`"):
        JsonPairs()
    with pytest.raises(ValueError, match='"hold_out".*Did you mean "holdout"'):
        JsonPairs(path=path, hold_out=0.1)
    with pytest.raises(ValueError, match="holdout is 1.5"):
        JsonPairs(path=path, holdout=1.5)
    with pytest.raises(ValueError, match='"valid".*Did you mean "validation"'):
        JsonPairs(path=path, split="valid")
    with pytest.raises(ValueError, match="split 'test' is empty"):
        JsonPairs(path=write(tmp_path, pairs(1)), split="test")


def test_nothing_is_held_out_where_all_is_for_training(tmp_path):
    path = write(tmp_path, pairs(3))
    assert len(JsonPairs(path=path, holdout=0)) == 3
    with pytest.raises(ValueError, match="split 'test' is empty.*Give more images, `holdout`"):
        JsonPairs(path=path, holdout=0, split="test")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 60), min_size=2, max_size=80), st.floats(0.01, 0.9))
def test_an_image_is_in_one_set_and_none_is_empty(images, holdout):
    places = np.array([stable_fraction(str(k)) for k in images])
    train, held_out = split_by_image(places, holdout)
    assert sorted([*train, *held_out]) == list(range(len(images)))
    assert not {images[k] for k in train} & {images[k] for k in held_out}
    assert len(train) and (len(held_out) or len(set(images)) == 1)


def test_split_does_not_depend_on_where_the_folder_lies(tmp_path):
    names = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        source = JsonPairs(split="test", path=write(tmp_path / folder, pairs(100)))
        names.append([record["captions"] for record in records(source)])
    assert names[0] == names[1] and 1 <= len(names[0]) <= 15


def test_byte_order_marks_and_lines_are_read(tmp_path):
    content = pairs(3)
    text = json.dumps(content)
    lines = "\n".join(json.dumps(entry, ensure_ascii=False) for entry in content)
    forms = {
        "bom.json": b"\xef\xbb\xbf" + text.encode(),
        "utf16.json": text.encode("utf-16"),
        "a.jsonl": lines.encode() + b"\n\n",
        "bom.ndjson": b"\xef\xbb\xbf" + lines.encode(),
        "lines.json": b"\r\n" + lines.replace("\n", "\r\n").encode(),
        "list.jsonl": json.dumps(content, indent=2).encode(),
    }
    for name, data in forms.items():
        (tmp_path / name).write_bytes(data)
        source = JsonPairs(path=str(tmp_path / name), holdout=0)
        assert [record["captions"] for record in records(source)] == [
            [entry["caption"]] for entry in content
        ], name
    (tmp_path / "one.jsonl").write_text(json.dumps(content[0]))
    assert len(JsonPairs(path=str(tmp_path / "one.jsonl"), holdout=0)) == 1


def test_a_list_is_read_in_pieces_and_errors_name_the_line(tmp_path, monkeypatch):
    monkeypatch.setattr("vlp_jax.data.sources.json_values._CHUNK", 7)
    path = write(tmp_path, json.dumps(pairs(30), indent=1))
    source = JsonPairs(path=path, holdout=0)
    assert [r["captions"] for r in records(source)] == [[f"caption {k}"] for k in range(30)]
    lines = json.dumps(pairs(30), indent=1).splitlines()
    lines[18] = lines[18].replace(":", "")
    with pytest.raises(ValueError, match="pairs.json: not valid JSON: .* line 19 column 11"):
        JsonPairs(path=write(tmp_path, "\n".join(lines)))
    for text, message in (
        ('[{"image": "a", "caption": "b"} 2', "Expecting ',' delimiter: line 1 column 33"),
        ('[{"image": "a", "caption": "b"}] x', "text follows the end of the list: line 1"),
        ("", "Expecting value: line 1 column 1"),
        ("[" * 100_000, "nested too deeply"),
        ('[{"a": ' * 100_000, "nested too deeply"),
        ('{"images": [], "annotations": []}', "expected a list .* found dict"),
    ):
        with pytest.raises(ValueError, match=message):
            JsonPairs(path=write(tmp_path, text))
    (tmp_path / "latin.json").write_bytes('[{"image": "ä"}]'.encode("latin-1"))
    with pytest.raises(ValueError, match="latin.json: not valid JSON: 'utf-8' codec"):
        JsonPairs(path=str(tmp_path / "latin.json"))


@pytest.mark.parametrize("place", [0, 3, 29])
@pytest.mark.parametrize("key", ["question", "answer", "caption"])
def test_a_key_that_few_lack_is_refused_wherever_they_stand(tmp_path, key, place):
    content = pairs(30, question="what?", answer="a")
    del content[place][key]
    message = f'of 30 entries 1 entry has no "{key}".*entry {place}: key "{key}" is missing'
    with pytest.raises(ValueError, match=message):
        JsonPairs(path=write(tmp_path, content))
    for entry in content[:20]:
        entry.pop(key, None)
    with pytest.raises(ValueError, match=f'2\\d entries have no "{key}"; also entries ') as caught:
        JsonPairs(path=write(tmp_path, content))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_the_validation_file_must_have_what_the_training_file_has(tmp_path):
    first = write(tmp_path, pairs(3))
    other = write(tmp_path, pairs(3, question="what?", answer="a"), "v.json")
    with pytest.raises(ValueError, match="have caption and question, and those of .* caption"):
        JsonPairs(path=first, validation_path=other)


def test_each_image_once_with_all_its_captions(tmp_path):
    content = [
        {"image": f"{k % 3}.jpg", "caption": f"caption {k}", "image_id": f"coco_{k % 3}"}
        for k in range(7)
    ]
    source = JsonPairs(path=write(tmp_path, content), holdout=0)
    once = source.by_image()
    assert len(source) == 7 and len(once) == 3 and once.provides == source.provides
    assert [r["captions"] for r in records(once)] == [
        ["caption 0", "caption 3", "caption 6"],
        ["caption 1", "caption 4"],
        ["caption 2", "caption 5"],
    ]
    assert [r["image_id"] for r in records(once)] == once.image_ids().tolist() == [0, 1, 2]
    assert once.by_image() is once and list(once.texts()) == list(source.texts())
    different = JsonPairs(path=write(tmp_path, pairs(4)), holdout=0)
    assert different.by_image() is different


def test_options_of_a_wrong_type_or_name_are_refused(tmp_path):
    path = write(tmp_path, pairs(3))
    for options, message in (
        ({"path": 3}, r"path = 3 \(int\): expected str"),
        ({"path": path, "holdout": "5%"}, "holdout = '5%'"),
        ({"path": path, "image_root": 5}, "image_root = 5"),
        ({"path": path, "seed": "x"}, "seed = 'x'"),
        ({"path": path, "self": 1}, 'unknown option of source JsonPairs "self"'),
        ({"path": path, "cls": 1}, 'unknown option of source JsonPairs "cls"'),
        ({"path": "ftp://b/list.json"}, '"ftp://b/list.json" is an address; expected a local path'),
        ({"path": path, "image_root": "https://x.y/z"}, "is an address"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            JsonPairs(**options)
        assert "\n" not in str(caught.value)
    assert len(JsonPairs(path=tmp_path / "pairs.json", holdout=0)) == 3


def test_an_entry_costs_its_bytes(tmp_path):
    path = write(tmp_path, [pair | {"image_id": k} for k, pair in enumerate(pairs(20_000))])
    tracemalloc.start()
    try:
        source = JsonPairs(path=path, holdout=0)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(source) == 20_000 and kept / 20_000 < 150
