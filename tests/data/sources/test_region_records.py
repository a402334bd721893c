"""Source "regions": texts from JSON, regions from a store, through to batches."""

import json
import pickle

import numpy as np
import pytest

from tests.data.chains import chain
from tests.data.regions.pictures import (
    assert_equal,
    bottom_up_line,
    lxmert_line,
    only,
    random_pictures,
    write_lines,
)
from vlp_jax.data.pipeline import Pipeline
from vlp_jax.data.regions import Regions
from vlp_jax.data.sources import SOURCES
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary


@pytest.fixture
def pictures():
    return random_pictures(12)


def write_texts(folder, entries, name="texts.json"):
    (folder / name).write_text(json.dumps(entries))
    return str(folder / name)


def captions(pictures):
    return [{"image": key, "caption": f"picture {key}"} for key in pictures]


@pytest.fixture
def source(tmp_path, pictures):
    features = write_lines(tmp_path / "a.tsv", [bottom_up_line(k, r) for k, r in pictures.items()])

    def make(entries=None, split="train", **options):
        path = write_texts(tmp_path, captions(pictures) if entries is None else entries)
        options = {"features": str(features), "store": "butd_tsv", **options}
        return SOURCES.get_known("regions")(split=split, path=path, **options)

    return make


def test_records_hold_regions_and_no_picture(source, pictures):
    train, held_out = source(), source(split="validation", seed=3)
    assert train.provides == {"caption", "region_features", "region_class_scores"}
    found = [part[i] for part in (train, held_out) for i in range(len(part))]
    assert len({record["image_id"] for record in found}) == len(found) == 12
    for record in found:
        (caption,) = record["captions"]
        regions = Regions(
            features=record["region_features"],
            boxes=record["boxes"],
            width=record["width"],
            height=record["height"],
            class_scores=record["region_class_scores"],
        )
        assert_equal(regions, only(pictures[caption.removeprefix("picture ")], "class_scores"))
        assert "image" not in record
    assert pickle.loads(pickle.dumps(train))[0]["captions"] == train[0]["captions"]


def test_questions_under_each_name(source, pictures):
    keys = list(pictures)
    for name in ("answer", "answers", "label"):
        entries = [{"image": k, "question": "what?", name: {"red": 0.3, "blue": 1}} for k in keys]
        made = source(entries)
        assert made.provides >= {"question", "region_features"} and "caption" not in made.provides
        assert made[0]["answers"] == {"red": 0.3, "blue": 1} and made.answers() == ("blue", "red")
        assert set(made.texts()) == {"what?"}
    with pytest.raises(ValueError, match="answer and label mean the same"):
        source([{"image": keys[0], "question": "what?", "answer": "a", "label": "b"}])


def test_classes_are_offered_where_the_store_has_them(tmp_path, source, pictures):
    path = write_lines(tmp_path / "b.tsv", [lxmert_line(k, r) for k, r in pictures.items()])
    made = source(features=str(path), store="lxmert_tsv", store_args={"max_boxes": 3})
    assert made.provides == {"caption", "region_features", "region_classes"}
    assert made[0]["region_labels"].shape == (3,)
    assert source(store_args={"class_scores": False}).provides == {"caption", "region_features"}


def test_pictures_without_regions_are_left_out_and_listed(source, pictures, caplog):
    entries = [*captions(pictures), {"image": "COCO_99", "caption": "lost"}]
    made = source(entries, validation_path=None)
    other = source(entries, split="test")
    assert len(made) + len(other) == 12
    listed = made.skipped + other.skipped
    assert listed == ['no regions of the picture "COCO_99"']
    assert "1 pictures have no regions, the first is COCO_99" in caplog.text
    wrong = [{"image": f"{key}x", "caption": "lost"} for key in pictures]
    with pytest.raises(ValueError, match='no regions of the picture "COCO.*x". Did you mean "COCO'):
        source(wrong)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"features": None}, "source regions needs `features`"),
        ({"store": None}, "source regions needs `store` .* Stores: adaptive_hdf5, array_record, "),
        ({"store": "butd"}, 'unknown region store "butd"'),
        ({"stores": "x"}, 'unknown option of source RegionRecords "stores".*"store"'),
        ({"store_args": {"dimension": 2048}}, "features are 8 wide, expected 2048"),
        ({"split": "dev"}, "unknown split"),
    ],
)
def test_wrong_options(source, options, message):
    with pytest.raises(ValueError, match=message):
        source(**options)


def test_batches(source, pictures):
    made = source()
    vocabulary = Vocabulary(Tokenizer.bert_uncased())
    transforms = chain(provides=made.provides, vocabulary=vocabulary, regions=7)
    batch = Pipeline(made, transforms, batch_size=4, seed=1).batch(2)
    assert batch["region_features"].shape == (4, 7, 8) and "image" not in batch
    assert batch["region_class_scores"].shape == (4, 7, 7)
    assert batch["region_mask"].sum(1).tolist() == [5] * 4
    assert batch["region_boxes"].min() >= 0 and batch["region_boxes"].max() <= 1
    assert np.isfinite(batch["region_features"]).all()


def test_messages_about_long_keys_are_short(source):
    with pytest.raises(ValueError, match="no regions of the picture") as error:
        source(entries=captions(["k" * 60_000]), holdout=0)
    assert len(str(error.value)) < 600
