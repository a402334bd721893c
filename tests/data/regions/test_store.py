"""Stores as a whole: options, names, several files as one, hints among many keys."""

import pickle

import numpy as np
import pytest

from tests.data.regions.pictures import (
    lxmert_line,
    npz_bytes,
    oscar_line,
    random_pictures,
    uniter_fields,
    write_lines,
)
from vlp_jax.data.regions import open_regions
from vlp_jax.data.regions.store import nearest_key


@pytest.fixture
def pictures():
    return random_pictures(4)


@pytest.fixture
def two_files(tmp_path, pictures):
    lines = [oscar_line(k, r) for k, r in pictures.items()]
    return write_lines(tmp_path / "f0.tsv", lines[:1]), write_lines(tmp_path / "f1.tsv", lines[1:])


def test_unknown_names(two_files):
    with pytest.raises(ValueError, match='unknown region store "oscar".*Did you mean "oscar_tsv"'):
        open_regions("oscar", str(two_files[0]))
    with pytest.raises(
        ValueError, match='unknown option of OscarTsv "label".*Did you mean "labels"'
    ):
        open_regions("oscar_tsv", str(two_files[0]), label="x")
    with pytest.raises(ValueError, match='unknown option of OscarTsv "max_box".* "max_boxes"'):
        open_regions("oscar_tsv", str(two_files[0]), max_box=3)
    with pytest.raises(FileNotFoundError, match='f2.tsv does not exist. Did you mean "f1.tsv"'):
        open_regions("oscar_tsv", str(two_files[0].with_name("f2.tsv")))
    with pytest.raises(ValueError, match="names no file"):
        open_regions("oscar_tsv", " , ")
    for name, given in (("path", "features"), ("paths", "features"), ("kind", "store")):
        with pytest.raises(ValueError, match=f'"{name}" is no option of a store: `{given}`'):
            open_regions("oscar_tsv", str(two_files[0]), **{name: "x"})
    with pytest.raises(ValueError, match="is a folder, expected a TSV file"):
        open_regions("oscar_tsv", str(two_files[0].parent))


@pytest.mark.parametrize("pattern", ["{0}/f0.tsv, {0}/f1.tsv", "{0}/f*.tsv"])
def test_several_files_are_one_store(two_files, pictures, pattern):
    store = open_regions("oscar_tsv", pattern.format(two_files[0].parent))
    assert store.keys() == list(pictures) and len(store) == 4 and store.dimension == 8
    again = pickle.loads(pickle.dumps(store))
    for key in pictures:
        assert key in again and len(again[key]) == 5
    with pytest.raises(ValueError, match=f'f0.tsv, .*f1.tsv: no regions.*mean "{key}"'):
        store[f"{key}x"]


def test_every_wildcard_must_match(two_files):
    for pattern in ("{0}/f*.tsv, {0}/g*.tsv", "{0}/g*.tsv"):
        with pytest.raises(FileNotFoundError, match=r'no file matches ".*/g\*.tsv"'):
            open_regions("oscar_tsv", pattern.format(two_files[0].parent))


def test_kept_files_are_no_features(tmp_path, two_files, pictures):
    for _ in range(2):  # the first time keeps the starts of lines beside both files
        assert open_regions("oscar_tsv", f"{tmp_path}/*").keys() == list(pictures)
    assert (tmp_path / "f0.tsv.lines.npz").is_file()
    with pytest.raises(FileNotFoundError, match="no file matches"):
        open_regions("oscar_tsv", f"{tmp_path}/*.npz")
    regions = next(iter(pictures.values()))
    (tmp_path / "1.npz").write_bytes(npz_bytes(uniter_fields(regions)))
    assert open_regions("npz", str(tmp_path)).keys() == ["1.npz"]


def test_several_files_must_fit(tmp_path, two_files, pictures):
    both = ",".join(map(str, two_files))
    with pytest.raises(ValueError, match='the key ".*" occurs in .*f1.tsv and .*f1.tsv'):
        open_regions("oscar_tsv", f"{both},{two_files[1]}")
    wide = [oscar_line(f"w{k}", r) for k, r in random_pictures(1, width=9).items()]
    path = write_lines(tmp_path / "wide.tsv", wide)
    with pytest.raises(ValueError, match="f0.tsv are 8 wide and those of .*wide.tsv 9"):
        open_regions("oscar_tsv", f"{both},{path}")


def test_what_all_pictures_have(tmp_path, pictures):
    lines = [lxmert_line(k, r) for k, r in pictures.items()]
    store = open_regions("lxmert_tsv", str(write_lines(tmp_path / "a.tsv", lines)))
    assert store.contents == {"labels", "confidence", "attributes", "attribute_confidence"}
    assert store[list(pictures)[0]].contents() == store.contents


def test_a_picture_that_lacks_what_others_have(tmp_path, pictures):
    for number, regions in enumerate(pictures.values()):
        fields = uniter_fields(regions)
        if number == 2:
            del fields["conf"]
        (tmp_path / f"{number}.npz").write_bytes(npz_bytes(fields))
    store = open_regions("npz", str(tmp_path))
    assert np.isfinite(store["3.npz"].confidence).all()
    with pytest.raises(ValueError, match='"2.npz": there are no confidence, as others have'):
        store["2.npz"]


def write_npz(folder, pictures, change):
    """Writes UNITER's fields of each picture, as `change` of its number and its fields."""
    folder.mkdir(exist_ok=True)
    for number, regions in enumerate(pictures.values()):
        fields = uniter_fields(regions)
        change(number, fields)
        (folder / f"{folder.name}{number}.npz").write_bytes(npz_bytes(fields))


def with_attributes(number, fields):
    if number:
        fields["attributes"] = np.arange(5)


def with_more_classes(number, fields):
    if number == 2:
        scores = fields["soft_labels"]
        fields["soft_labels"] = np.concatenate([scores, np.zeros_like(scores[:, :1])], 1)


def test_what_the_first_picture_lacks_is_left_out(tmp_path, pictures):
    write_npz(tmp_path / "a", pictures, with_attributes)
    store = open_regions("npz", str(tmp_path / "a"))
    assert all(store[key].contents() == store.contents for key in store.keys())
    assert store.contents == {"class_scores", "confidence", "box_sizes"}


def test_pictures_of_all_files_have_the_same_fields(tmp_path, pictures):
    write_npz(tmp_path / "a", pictures, lambda number, fields: fields.pop("conf"))
    write_npz(tmp_path / "b", pictures, lambda number, fields: fields.pop("soft_labels"))
    write_npz(tmp_path / "c", pictures, with_attributes)
    store = open_regions("npz", f"{tmp_path}/a,{tmp_path}/c")
    assert store.contents == {"class_scores", "box_sizes"}
    assert all(store[key].contents() == store.contents for key in store.keys())
    store = open_regions("npz", f"{tmp_path}/a,{tmp_path}/b")
    assert all(store[key].contents() == store.contents == {"box_sizes"} for key in store.keys())


def test_class_scores_are_of_the_same_classes(tmp_path, pictures):
    write_npz(tmp_path / "a", pictures, with_more_classes)
    store = open_regions("npz", str(tmp_path / "a"))
    assert store["a1.npz"].class_scores.shape == (5, 7)
    with pytest.raises(ValueError, match='"a2.npz": the class scores are of 8 classes, not 7'):
        store["a2.npz"]
    write_npz(tmp_path / "b", pictures, lambda _, fields: with_more_classes(2, fields))
    with pytest.raises(ValueError, match="scores of .*a are of 7 classes and those of .*b of 8"):
        open_regions("npz", f"{tmp_path}/a,{tmp_path}/b")
    apart = open_regions("npz", f"{tmp_path}/a,{tmp_path}/b", class_scores=False)
    assert apart["a2.npz"].contents() == apart["b0.npz"].contents() == {"confidence", "box_sizes"}


def test_the_nearest_of_very_many_keys_is_found_fast():
    import time

    keys = [f"coco_train2014_{k:012d}.npz" for k in range(0, 3_000_000, 15)]
    started = time.perf_counter()
    assert nearest_key("coco_train2014_000000000031.npz", keys).startswith(
        ' Did you mean "coco_train2014_0000000'
    )
    assert 'mean "coco_train2014_000000900000.npz"' in nearest_key("000000900000", keys)
    assert nearest_key("?", keys) == ""
    assert time.perf_counter() - started < 3


def test_options_of_a_wrong_type(two_files, tmp_path):
    path = str(two_files[0])
    for options, message in (
        ({"labels": 3}, "labels is 3; expected a path"),
        ({"self": 1}, 'unknown option of OscarTsv "self"'),
        ({"cls": 1}, 'unknown option of OscarTsv "cls"'),
        ({"max_boxes": "x"}, "max_boxes is 'x'"),
        ({"dimension": 2.5}, "dimension is 2.5"),
    ):
        with pytest.raises(ValueError, match=message):
            open_regions("oscar_tsv", path, **options)
    for wrong in (3, None, ["a"]):
        with pytest.raises(ValueError, match="region features is .*expected a path"):
            open_regions("oscar_tsv", wrong)
        with pytest.raises(ValueError, match="unknown region store"):
            open_regions(wrong, path)
