"""Stores as a whole: options, names, several files as one, hints among many keys."""

import pickle

import pytest

from tests.data.regions.pictures import lxmert_line, oscar_line, random_pictures, write_lines
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
        open_regions("oscar_tsv", str(two_files[0].with_name("g*.tsv")))
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
    import numpy as np

    from tests.data.regions.pictures import npz_bytes, uniter_fields

    for number, regions in enumerate(pictures.values()):
        fields = uniter_fields(regions)
        if number == 2:
            del fields["conf"]
        (tmp_path / f"{number}.npz").write_bytes(npz_bytes(fields))
    store = open_regions("npz", str(tmp_path))
    assert np.isfinite(store["3.npz"].confidence).all()
    with pytest.raises(ValueError, match='"2.npz": there are no confidence, as others have'):
        store["2.npz"]


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
