"""Tests of writing a source into ArrayRecord files and reading it as the same source."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.data.fakes import FakeSource
from tests.data.sources.tars import write_shards
from tests.data.sources.test_sources import same
from vlp_jax.data.images import decode
from vlp_jax.data.sources import ArrayRecords, EasyVqa, EmojiScenes, Joined, Source
from vlp_jax.data.sources.array_record_writer import write_array_records

pytest.importorskip("array_record")


def stored(record):
    """Returns a record with its picture decoded, because it is stored encoded."""
    return record | {"image": decode(record["image"])}


def test_a_stored_source_is_the_same_source(tmp_path):
    scenes = {split: EmojiScenes(split=split, size=40) for split in ("train", "test")}
    for split, source in scenes.items():
        write_array_records(source, tmp_path, split, records_per_file=7)
    for split, source in scenes.items():
        copy = ArrayRecords(split, path=str(tmp_path))
        assert len(copy) == len(source) and copy.provides == source.provides
        assert copy.attribution == source.attribution
        for index in np.random.default_rng().integers(len(source), size=5).tolist():
            same(stored(copy[index]), stored(source[index]))
        assert list(copy.texts()) == [
            text
            for k in range(len(scenes["train"]))
            for text in (*scenes["train"][k]["captions"], scenes["train"][k].get("question"))
            if text
        ]
    assert len(list(tmp_path.glob("train-*.array_record"))) == -(-len(scenes["train"]) // 7)


def test_questions_keep_their_closed_answers(tmp_path):
    source = EasyVqa(split="test")
    few = [source[k] for k in range(3)]

    class Few(list, Source):
        provides, answers = source.provides, staticmethod(source.answers)

    write_array_records(Few(few), tmp_path, "test")
    copy = ArrayRecords("test", path=str(tmp_path))
    assert copy.answers() == source.answers()
    assert [r["question"] for r in (copy[k] for k in range(3))] == [r["question"] for r in few]
    assert list(copy.texts()) == [r["question"] for r in few]  # no train split: its own texts


def test_threads_and_copies_read_the_same(tmp_path):
    write_array_records(FakeSource(12), tmp_path, "train", records_per_file=5)
    source = ArrayRecords(path=str(tmp_path))
    copy, order = pickle.loads(pickle.dumps(source)), [3, 11, 0, 3, 7] * 8
    with ThreadPoolExecutor(8) as pool:
        for index, record in zip(order, pool.map(source.__getitem__, order), strict=True):
            same(record, copy[index])
    with pytest.raises(IndexError, match="12 records"):
        source[12]


def test_records_that_cannot_be_read_are_left_out_and_listed(tmp_path):
    source = FakeSource(6, broken={2: {"image": str(tmp_path / "none.jpg")}})
    about = write_array_records(source, tmp_path / "out", "train")
    assert about["skipped_total"] == 1 and about["files"] == {"train-00000.array_record": 5}
    copy = ArrayRecords(path=str(tmp_path / "out"))
    assert [copy[k]["image_id"] for k in range(5)] == [0, 1, 3, 4, 5]
    assert len(copy.skipped) == 1 and "record 2: " in copy.skipped[0]


def test_mistakes_say_what_is_expected(tmp_path):
    write_array_records(FakeSource(4), tmp_path, "train")
    with pytest.raises(ValueError, match="holds a split train already"):
        write_array_records(FakeSource(4), tmp_path, "train")
    with pytest.raises(ValueError, match='"tran".*Did you mean "train"'):
        write_array_records(FakeSource(4), tmp_path, "tran")
    with pytest.raises(ValueError, match="no record could be written; the first reason: record 0"):
        broken = {k: {"image": "/none.jpg"} for k in range(2)}
        write_array_records(FakeSource(2, broken=broken), tmp_path, "test")
    with pytest.raises(FileNotFoundError, match=r"no split test \(test.json\): it has train"):
        ArrayRecords("test", path=str(tmp_path))
    with pytest.raises(ValueError, match="needs `path`"):
        ArrayRecords()
    with pytest.raises(ValueError, match='"sed".*Did you mean "seed"'):
        ArrayRecords(path=str(tmp_path), sed=1)
    about = json.loads((tmp_path / "train.json").read_text())
    for content, message in (("{", "not valid JSON"), (about | {"version": 9}, "'version': 9")):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "train.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            ArrayRecords(path=str(tmp_path))
    (tmp_path / "train.json").write_text(json.dumps(about))
    (tmp_path / "train-00000.array_record").unlink()
    with pytest.raises(FileNotFoundError, match="record file .* does not exist"):
        ArrayRecords(path=str(tmp_path))


def test_a_damaged_file_is_a_value_error(tmp_path):
    write_array_records(FakeSource(4), tmp_path, "train")
    file = tmp_path / "train-00000.array_record"
    file.write_bytes(file.read_bytes().replace(b"image_id", b"\0\0\0\0\0\0\0\0"))
    with pytest.raises(ValueError, match=f"{tmp_path} record 2: "):
        ArrayRecords(path=str(tmp_path))[2]
    with pytest.raises(ValueError, match=f"{tmp_path} record 0: "):
        list(ArrayRecords(path=str(tmp_path)).texts())


def test_texts_are_those_of_the_records_that_can_be_read(tmp_path, monkeypatch):
    source = FakeSource(4)
    write_array_records(source, tmp_path, "train")
    stored = ArrayRecords(path=str(tmp_path))
    whole = list(stored.texts())
    damaged = [b"", *(stored._records[k] for k in range(1, 4))]
    monkeypatch.setattr("vlp_jax.data.sources.array_records._open", lambda *_: damaged)
    assert list(stored.texts()) == whole[len(whole) // 4 :]


def test_a_joined_source_without_answers_can_be_stored(tmp_path):
    shards = write_shards(tmp_path / "web", shards=1, size=3)
    part = {"kind": "webdataset", "path": str(shards), "holdout": 0}
    about = write_array_records(Joined(parts={"web": part}), tmp_path / "out", "train")
    assert about["answers"] == [] and len(ArrayRecords(path=str(tmp_path / "out"))) == 3


def test_a_description_is_there_whole_or_not_at_all(tmp_path):
    source = FakeSource(2)
    source.answers = lambda: ("\ud800",)  # no UTF-8
    with pytest.raises(UnicodeEncodeError):
        write_array_records(source, tmp_path / "out", "train")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["train-00000.array_record"]

    def fail():
        raise RuntimeError("no answers")

    source.answers = fail
    with pytest.raises(RuntimeError, match="no answers"):
        write_array_records(source, tmp_path / "early", "train")
    assert not list((tmp_path / "early").iterdir())
