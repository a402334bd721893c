"""Tests of the source "tfds" on a directory that is written and read without TensorFlow."""

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.data.fakes import png
from vlp_jax.data.images import decode
from vlp_jax.data.sources import Tfds
from vlp_jax.data.sources.tfds import _check_features

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("array_record")

SIZES = {"train": 6, "restval": 2, "val": 3}


def write_split(folder, features, split, start, count, damaged=()):
    """Writes one file of examples in the format of TFDS and returns the split's description."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    serializer = ExampleSerializer(features.get_serialized_info())
    writer = ArrayRecordWriter(
        str(folder / f"coco_captions-{split}.array_record-00000-of-00001"), "group_size:1"
    )
    for k in range(start, start + count):
        pixels = np.full((6, 8, 3), k, np.uint8)
        captions = [{"id": k, "text": f"caption {k}"}, {"id": k, "text": f"again {k}"}]
        example = {"image": png(pixels, ".jpg"), "image/id": 1000 + k, "captions": captions}
        writer.write(serializer.serialize_example(features.encode_example(example)))
    for data in damaged:
        writer.write(data)
    writer.close()
    count += len(damaged)
    name = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    return {"name": split, "shardLengths": [str(count)], "numBytes": "1", "filepathTemplate": name}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A directory with the features of `coco_captions` that this source reads."""
    folder = tmp_path_factory.mktemp("data") / "coco_captions" / "1.1.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "image/id": np.int64,
            "captions": tfds.features.Sequence({"id": np.int64, "text": tfds.features.Text()}),
        }
    )
    features.save_config(str(folder))
    starts = np.cumsum([0, *SIZES.values()]).tolist()
    splits = [
        write_split(folder, features, name, start, SIZES[name])
        for name, start in zip(SIZES, starts, strict=False)
    ]
    about = {"name": "coco_captions", "version": "1.1.0", "fileFormat": "array_record"}
    (folder / "dataset_info.json").write_text(json.dumps(about | {"splits": splits}))
    return folder


def test_records_of_coco_captions(coco):
    source = Tfds(path=str(coco))
    assert len(source) == 6 and source.provides == {"image", "caption"}
    record = source[4]
    assert record["captions"] == ["caption 4", "again 4"] and record["image_id"] == 1004
    assert isinstance(record["image"], bytes) and abs(int(decode(record["image"]).mean()) - 4) <= 1
    assert record["name"] == f"{coco} train 4"
    assert list(source.texts())[:3] == ["caption 0", "again 0", "caption 1"]
    assert Tfds(path=str(coco), image_id=None)[4]["image_id"] == 4


def test_sets_sums_and_slices(coco):
    assert Tfds("validation", path=str(coco))[0]["captions"][0] == "caption 8"
    splits = {"train": "train+restval", "test": "val[1:]"}
    joined = Tfds("train", path=str(coco), splits=splits)
    assert len(joined) == 8 and joined[7]["captions"][0] == "caption 7"
    held_out = Tfds("test", path=str(coco), splits=splits)
    assert len(held_out) == 2 and len(list(held_out.texts())) == 16


def test_threads_and_copies_read_the_same(coco):
    source = Tfds(path=str(coco))
    copy, order = pickle.loads(pickle.dumps(source)), [5, 0, 3, 5, 1] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.__getitem__, order)) == [copy[index] for index in order]


def test_tensorflow_is_not_imported(coco):
    code = (
        "import sys\n"
        "from vlp_jax.data.sources import Tfds\n"
        f"print(Tfds(path={str(coco)!r})[0]['captions'][0], 'tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "caption 0 False", result.stderr


def test_mistakes_say_what_is_expected(coco, tmp_path):
    with pytest.raises(ValueError, match="needs `path`"):
        Tfds()
    with pytest.raises(ValueError, match=r"no dataset_info.json.*Did you mean .*1\.1\.0"):
        Tfds(path=str(coco.parent))
    with pytest.raises(ValueError, match='no split "test", it has'):
        Tfds("test", path=str(coco))
    with pytest.raises(ValueError, match='split "trian": Unknown split'):
        Tfds(path=str(coco), splits={"train": "trian"})
    with pytest.raises(ValueError, match='option image_id.*"image/identity"'):
        Tfds(path=str(coco), image_id="image/identity")
    with pytest.raises(ValueError, match='column "captions" of .* is not an image'):
        Tfds(path=str(coco), image="captions")
    with pytest.raises(ValueError, match='no "txt".*Did you mean "text"'):
        Tfds(path=str(coco), captions="captions.txt")[0]


def copied(coco, folder, name, change):
    """Copies the descriptions of a data set, one of them changed."""
    for file in ("dataset_info.json", "features.json"):
        text = (coco / file).read_text()
        (folder / file).write_text(change(text) if file == name else text)
    return str(folder)


def test_other_file_formats_are_refused(coco, tmp_path):
    path = copied(
        coco, tmp_path, "dataset_info.json", lambda t: t.replace("array_record", "tfrecord")
    )
    with pytest.raises(ValueError, match="stored as tfrecord.*--file_format=array_record"):
        Tfds(path=path)


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name"])
def test_no_module_that_a_file_names_is_imported(coco, tmp_path, key):
    def change(text):
        described = json.loads(text)
        image = described["featuresDict"]["features"]["image"]
        image.pop("pythonClassName")
        image[key] = "antigravity.Feature"
        return json.dumps(described)

    path = copied(coco, tmp_path, "features.json", change)
    with pytest.raises(ValueError, match="names the class 'antigravity.Feature'; only features of"):
        Tfds(path=path)
    assert "antigravity" not in sys.modules


MARKED = "vlp_jax_marked_module"
TRUSTED = "tensorflow_datasets.core.features."
OLD = {"type": f"{MARKED}.Feature", "content": {}}
NESTED = {"a": {"type": f"{TRUSTED}text_feature.Text", "content": {}}, "image": OLD}
OLD_FORMS = {
    "alone": OLD,
    "nested": {"type": f"{TRUSTED}features_dict.FeaturesDict", "content": NESTED},
    "text within": {
        "type": f"{TRUSTED}features_dict.FeaturesDict",
        "content": json.dumps({"jsonFeature": {"json": json.dumps({"image": OLD})}}),
        "proto_cls": "tensorflow_datasets.Feature",
    },
    "within the new form": {
        "pythonClassName": f"{TRUSTED}features_dict.FeaturesDict",
        "jsonFeature": {"json": json.dumps({"image": OLD})},
    },
}


@pytest.mark.parametrize("described", OLD_FORMS.values(), ids=OLD_FORMS.keys())
def test_the_form_of_old_versions_imports_nothing(coco, tmp_path, monkeypatch, described):
    (tmp_path / f"{MARKED}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = copied(coco, tmp_path, "features.json", lambda text: json.dumps(described))
    with pytest.raises(ValueError, match="form of an old TFDS, .*again with a newer TFDS"):
        Tfds(path=path)
    assert sys.modules.pop(MARKED, None) is None


def test_a_class_within_text_is_not_imported(coco, tmp_path):
    described = {
        "pythonClassName": f"{TRUSTED}features_dict.FeaturesDict",
        "json_feature": {"json": json.dumps({"image": {"pythonClassName": "antigravity.Feature"}})},
    }
    path = copied(coco, tmp_path, "features.json", lambda text: json.dumps(described))
    with pytest.raises(ValueError, match="names the class 'antigravity.Feature'"):
        Tfds(path=path)
    assert "antigravity" not in sys.modules


def test_columns_may_be_called_type_and_json(tmp_path):
    names = ("type", "content", "json")
    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(), **{name: tfds.features.Text() for name in names}}
    )
    features.save_config(str(tmp_path))
    _check_features(tmp_path)


def test_damaged_examples_are_value_errors_and_passed_over_by_texts(coco, tmp_path):
    path = copied(coco, tmp_path, "", str)
    features = tfds.features.FeatureConnector.from_config(path)
    split = write_split(tmp_path, features, "train", 0, 2, [b"\xff\xff\xff garbage", b""])
    about = json.loads((tmp_path / "dataset_info.json").read_text())
    (tmp_path / "dataset_info.json").write_text(json.dumps(about | {"splits": [split]}))
    source = Tfds(path=path)
    assert source[1]["captions"] == ["caption 1", "again 1"]
    for index in (2, 3):
        with pytest.raises(ValueError, match=f"{tmp_path} train {index}: "):
            source[index]
    assert list(source.texts()) == ["caption 0", "again 0", "caption 1", "again 1"]
    with pytest.raises(ValueError, match='no "txt".*Did you mean "text"'):
        list(Tfds(path=path, captions="captions.txt").texts())
