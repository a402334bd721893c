"""Conversion to ArrayRecord: the same regions come out, whole folders or none."""

import json
import pickle

import numpy as np
import pytest

from tests.data.regions.pictures import (
    assert_equal,
    lxmert_line,
    only,
    oscar_line,
    random_pictures,
    write_lines,
)
from vlp_jax.data.regions import Regions, open_regions
from vlp_jax.data.regions.array_records import pack, unpack
from vlp_jax.data.regions.convert import check, convert

KEPT = ("labels", "confidence", "attributes", "attribute_confidence")


@pytest.fixture
def pictures():
    return random_pictures(5)


@pytest.fixture
def store(tmp_path, pictures):
    path = write_lines(tmp_path / "a.tsv", [lxmert_line(k, r) for k, r in pictures.items()])
    return open_regions("lxmert_tsv", str(path))


def test_conversion_changes_nothing(tmp_path, store, pictures):
    seen = []
    found = convert(store, tmp_path / "out", pictures_per_file=2, progress=seen.append)
    assert (found.pictures, found.regions, found.problems) == (5, (5, 5.0, 5), ())
    assert seen == [1, 2, 3, 4, 5]
    converted = open_regions("array_record", str(tmp_path / "out"))
    assert converted.keys() == store.keys() and converted.contents == store.contents
    assert len(list((tmp_path / "out").glob("*.array_record"))) == 3
    again = pickle.loads(pickle.dumps(converted))
    for key in np.random.default_rng().permutation(store.keys()):
        assert_equal(again[key], only(pictures[key], *KEPT))


def test_half_precision_keeps_boxes_and_classes(tmp_path, store, pictures):
    convert(store, tmp_path / "out", half=True)
    converted = open_regions("array_record", str(tmp_path / "out"))
    for key, regions in pictures.items():
        read = converted[key]
        assert_equal(read, only(regions, *KEPT), 1e-3)
        np.testing.assert_array_equal(read.boxes, regions.boxes)
        np.testing.assert_array_equal(read.labels, regions.labels)


def test_numbers_too_large_for_half_precision(tmp_path, pictures):
    bad = list(pictures)[2]
    pictures[bad].features[1, 2] = -70_000
    lines = [lxmert_line(k, r) for k, r in pictures.items()]
    store = open_regions("lxmert_tsv", str(write_lines(tmp_path / "a.tsv", lines)))
    message = f'"{bad}": features reach 70000, which does not fit float16; .* without --half'
    with pytest.raises(ValueError, match=message):
        convert(store, tmp_path / "out", half=True)
    found = convert(store, tmp_path / "out", half=True, skip_bad=True)
    assert found.pictures == 4 and len(found.problems) == 1
    assert bad not in open_regions("array_record", str(tmp_path / "out"))
    assert convert(store, tmp_path / "whole").pictures == 5


def test_an_error_of_writing_is_not_the_pictures(store):
    def fail(key, record):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        check(store, write=fail, skip_bad=True)


def test_records_of_everything_and_of_little(pictures):
    full = next(iter(pictures.values()))
    named = Regions(**{**vars(full), "names": tuple("abcdé")})
    for regions in (named, only(full)):
        key, fields = unpack(pack("ключ", regions))
        names = tuple(fields.pop("names", ())) or None
        assert key == "ключ" and fields.keys() >= {"features", "boxes", "width", "height"}
        assert_equal(Regions(**fields, names=names), regions)


def test_what_can_be_read_is_counted(tmp_path, pictures):
    lines = [oscar_line(k, r) for k, r in pictures.items()]
    lines[1], lines[4] = lines[1][:-6], f"{list(pictures)[4]}\t5\tnothing"
    store = open_regions("oscar_tsv", str(write_lines(tmp_path / "a.tsv", lines)))
    found = check(store)
    assert found.pictures == 3 and len(found.problems) == 2
    assert all(list(pictures)[i] in found.problems[n] for n, i in enumerate((1, 4)))
    with pytest.raises(ValueError, match=f'picture "{list(pictures)[1]}"'):
        convert(store, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tsv", "a.tsv.lines.npz"]
    assert convert(store, tmp_path / "out", skip_bad=True) == found
    converted = open_regions("array_record", str(tmp_path / "out"))
    assert converted.keys() == [list(pictures)[i] for i in (0, 2, 3)]


def test_folders_are_not_overwritten(tmp_path, store):
    with pytest.raises(ValueError, match="exists already; convert into a new folder"):
        convert(store, tmp_path)
    with pytest.raises(ValueError, match="pictures_per_file is 0"):
        convert(store, tmp_path / "out", pictures_per_file=0)


def test_damaged_folders(tmp_path, store):
    with pytest.raises(ValueError, match="holds no index.json; `vlp-jax data convert` makes"):
        open_regions("array_record", str(tmp_path))
    convert(store, tmp_path / "out", pictures_per_file=3)
    index = tmp_path / "out" / "index.json"
    content = json.loads(index.read_text())

    def expect(message, **changed):
        index.write_text(json.dumps(content | changed))
        with pytest.raises(ValueError, match=message):
            open_regions("array_record", str(tmp_path / "out"))

    (first, keys), (second, more) = content["shards"].items()
    expect('has format "other", expected "vlp_jax regions 1"', format="other")
    expect("index.json is damaged", shards=[1])
    expect("lacks third of its 3 files", shards={**content["shards"], "third": []})
    expect("holds 5 records, but its index.json lists 4", shards={first: keys, second: more[1:]})
    expect("does not fit the files", shards={first: keys[1:] + keys[:1], second: more[::-1]})
    index.write_text("{")
    with pytest.raises(ValueError, match="index.json is damaged"):
        open_regions("array_record", str(tmp_path / "out"))


def test_damaged_records(pictures):
    blob = pack("a", next(iter(pictures.values())))
    for broken in (blob[:-1], b"", blob[:20]):
        with pytest.raises(ValueError, match="damaged record"):
            unpack(broken)


def test_a_damaged_file_spoils_only_its_pictures(tmp_path, store, pictures):
    convert(store, tmp_path / "out", pictures_per_file=2)
    file = tmp_path / "out" / "regions-00001.array_record"
    whole, key = file.read_bytes(), store.keys()[2]
    numbers = pictures[key].features.tobytes()
    assert whole.count(numbers) == 1
    file.write_bytes(whole.replace(numbers, numbers[::-1]))
    converted = open_regions("array_record", str(tmp_path / "out"))
    with pytest.raises(ValueError, match=f'picture "{key}": the ArrayRecord file is damaged'):
        converted[key]
    assert check(converted).pictures == 4
    for broken in (whole[:40_000], b"", b"x" * len(whole)):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match="out: an ArrayRecord file is damaged"):
            open_regions("array_record", str(tmp_path / "out"))
