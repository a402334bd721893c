"""Tests of the source "hf_datasets" on directories that `datasets` itself has written."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.data.fakes import png
from vlp_jax.data.images import decode
from vlp_jax.data.sources import HfDatasets

datasets = pytest.importorskip("datasets")
datasets.disable_progress_bars()


def picture():
    return png(np.random.default_rng().integers(0, 256, (6, 8, 3), dtype=np.uint8))


def rows(size, start=0):
    """Returns a data set of pictures of two rows each; row k has the captions k and k again."""
    numbers = range(start, start + size)
    return datasets.Dataset.from_dict(
        {
            "image": [{"bytes": picture(), "path": None} for _ in numbers],
            "caption": [[f"caption {k}", f"again {k}"] for k in numbers],
            "sentences": [[{"raw": f"raw {k}"}] for k in numbers],
            "photo": [str(k // 2) for k in numbers],
        }
    ).cast_column("image", datasets.Image())


@pytest.fixture
def one(tmp_path):
    rows(60).save_to_disk(str(tmp_path / "one"))
    return str(tmp_path / "one")


@pytest.fixture
def several(tmp_path):
    parts = {"train": rows(5), "val": rows(3, 100), "karpathy": rows(2, 200)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "several"))
    return str(tmp_path / "several")


def test_records_keep_pictures_encoded(several):
    source = HfDatasets(path=several)
    assert len(source) == 5 and source.provides == {"image", "caption"}
    assert source[2]["captions"] == ["caption 2", "again 2"] and source[2]["image_id"] == 2
    assert isinstance(source[2]["image"], bytes) and decode(source[2]["image"]).shape == (6, 8, 3)
    nested = HfDatasets(path=several, captions="sentences.raw", image_id="photo")
    assert nested[3]["captions"] == ["raw 3"] and nested[3]["image_id"] == 1
    assert list(nested.texts()) == [f"raw {k}" for k in range(5)]


def test_sets_have_their_own_or_given_names(several):
    validation = HfDatasets("validation", path=several)
    assert [r["captions"][0] for r in (validation[0], validation[2])] == [
        "caption 100",
        "caption 102",
    ]
    assert next(validation.texts()) == "caption 0"
    assert len(HfDatasets("test", path=several, splits={"test": "karpathy"})) == 2
    with pytest.raises(ValueError, match='no split "test", it has train, val, karpathy'):
        HfDatasets("test", path=several)
    with pytest.raises(ValueError, match='"karpaty".*Did you mean "karpathy"'):
        HfDatasets("test", path=several, splits={"test": "karpaty"})


def test_one_set_is_divided_by_image(one):
    options = {"path": one, "image_id": "photo", "holdout": 0.3}
    sets = [HfDatasets(split, **options) for split in ("train", "test")]
    assert len(sets[0]) + len(sets[1]) == 60 and len(sets[1]) > 0
    photos = [{source[k]["image_id"] for k in range(len(source))} for source in sets]
    assert not photos[0] & photos[1]
    assert len(list(sets[1].texts())) == 2 * len(sets[0])
    assert len(HfDatasets(path=one, holdout=0)) == 60
    with pytest.raises(ValueError, match="split 'test' is empty"):
        HfDatasets("test", path=one, holdout=0)


def test_threads_and_copies_read_the_same(one):
    source = HfDatasets(path=one)
    copy = pickle.loads(pickle.dumps(source))
    order = np.random.default_rng().integers(len(source), size=100).tolist()
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.__getitem__, order)) == [copy[index] for index in order]


def test_paths_and_saved_formats(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(picture())
    data = datasets.Dataset.from_dict({"image": [str(file)], "caption": ["a"]})
    data.with_format("numpy").save_to_disk(str(tmp_path / "paths"))
    record = HfDatasets(path=str(tmp_path / "paths"), holdout=0)[0]
    assert record["image"] == str(file) and record["captions"] == ["a"]


def test_columns_that_are_not_used_may_be_damaged(tmp_path):
    good = {"bytes": picture(), "path": None}
    columns = {"image": [good] * 2, "mask": [{"bytes": b"bad", "path": None}, good]}
    data = datasets.Dataset.from_dict({**columns, "caption": ["a", "b"], "photo": [4, 5]})
    for name in columns:
        data = data.cast_column(name, datasets.Image())
    data.save_to_disk(str(tmp_path / "masks"))
    source = HfDatasets(path=str(tmp_path / "masks"), holdout=0, image_id="photo")
    assert [(r["captions"], r["image_id"]) for r in source] == [(["a"], 4), (["b"], 5)]


def test_texts_are_those_of_the_rows_that_can_be_read(several):
    class Rows:
        def select_columns(self, names):
            return self

        def __getitem__(self, row):
            if row == 1:
                raise OSError("the disk fails")
            return {"caption": f"caption {row}"}

    source = HfDatasets(path=several)
    source._train = Rows()
    assert list(source.texts()) == [f"caption {row}" for row in (0, 2, 3, 4)]


def test_mistakes_say_what_is_expected(one, tmp_path):
    with pytest.raises(ValueError, match="needs `path`"):
        HfDatasets()
    with pytest.raises(FileNotFoundError, match='Did you mean "one"'):
        HfDatasets(path=one[:-1])
    with pytest.raises(ValueError, match="not a directory that `datasets` can load.*save_to_disk"):
        HfDatasets(path=str(tmp_path))
    with pytest.raises(ValueError, match='option captions.*"captions".*Did you mean "caption"'):
        HfDatasets(path=one, captions="captions")
    with pytest.raises(ValueError, match='"columns".*Known: split, path'):
        HfDatasets(path=one, columns={})


def test_the_missing_package_says_what_to_install(one):
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from vlp_jax.data.sources import HfDatasets\n"
        f"HfDatasets(path={one!r})"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "vlp_jax[datasets]"' in result.stderr


def test_texts_as_image_ids_group_the_rows_of_an_image(tmp_path):
    data = rows(8)
    data = data.remove_columns("photo").add_column("photo", [f"coco_{k // 2}" for k in range(8)])
    data.save_to_disk(str(tmp_path / "texts"))
    source = HfDatasets(path=str(tmp_path / "texts"), image_id="photo", holdout=0)
    assert [record["image_id"] for record in source] == [0, 0, 1, 1, 2, 2, 3, 3]
    once = source.by_image()
    assert len(once) == 4
    assert once[1]["captions"] == ["caption 2", "again 2", "caption 3", "again 3"]
    by_row = HfDatasets(path=str(tmp_path / "texts"), holdout=0)
    assert by_row.by_image() is by_row
    data.rename_column("photo", "image_id").save_to_disk(str(tmp_path / "named"))
    assert len(HfDatasets(path=str(tmp_path / "named"), holdout=0).by_image()) == 4
