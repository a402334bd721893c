"""Source "found_regions": a source's records, with the regions of a store."""

import dataclasses
import pickle

import numpy as np
import pytest

from vlp_jax.data.regions import Regions
from vlp_jax.data.regions.lxmert_file import lxmert_line
from vlp_jax.data.sources import EmojiScenes
from vlp_jax.data.sources.found_regions import FoundRegions, region_key

RECORDS = dict(kind="emoji_scenes", size=4, concepts=12)
BOXES = np.float32([[1, 2, 30, 40], [5, 5, 9, 9]])


@pytest.fixture
def file(tmp_path):
    """Regions of all pictures of the split "test" but the second."""
    confidence = np.float32([0.5, 0.9])
    path = tmp_path / "found.tsv"
    with path.open("wb") as lines:
        for i in (0, 2, 3):
            features = np.full((2, 3), i, np.float32)
            found = Regions(features, BOXES, 64, 64, labels=np.array([i, 5]), confidence=confidence)
            lines.write(lxmert_line(region_key("test", i), found))
    return str(path)


def test_records_have_the_stores_regions_and_all_else_of_their_own(file):
    source, own = (
        FoundRegions("test", records=RECORDS, features=file),
        EmojiScenes("test", size=4, concepts=12),
    )
    assert len(source) == 3 and source.image_ids().tolist() == [0, 2, 3]
    assert source.skipped == ['no regions of the picture "test-1"']
    assert source.provides == own.provides - {"regions", "region_class_scores"} | {
        "region_features"
    }
    record, classes = source[1], own.region_classes()
    assert record["captions"] == own[2]["captions"] and record["question"] == own[2]["question"]
    np.testing.assert_array_equal(record["image"], own[2]["image"])
    np.testing.assert_array_equal(record["boxes"], BOXES)
    assert record["region_features"].shape == (2, 3) and record["region_labels"].tolist() == [2, 5]
    assert record["labels"] == [classes[2], classes[5]]
    assert "region_class_scores" not in record and "boxes" not in source.annotation(0)
    assert source.answers() == own.answers() and source.region_classes() == classes
    assert next(source.texts()) == next(own.texts())
    assert pickle.loads(pickle.dumps(source))[1]["labels"] == record["labels"]


def test_features_may_be_cut_out_of_the_pictures(file):
    source = FoundRegions("test", records=RECORDS, features=file, crops=True)
    assert {"image", "regions", "region_classes"} <= source.provides
    assert "region_features" not in source.provides


def test_what_is_missing_is_said(file):
    with pytest.raises(ValueError, match='needs `records`, as in {"kind": "emoji_scenes"}'):
        FoundRegions(features=file)
    with pytest.raises(ValueError, match='Did you mean "emoji_scenes"'):
        FoundRegions(records={"kind": "emoji_scene"}, features=file)
    with pytest.raises(ValueError, match='no regions of the picture "train-0"'):
        FoundRegions(records=RECORDS, features=file)


def test_classes_of_another_detector_are_told(tmp_path):
    file, found = tmp_path / "a.tsv", Regions(np.ones((2, 3), np.float32), BOXES, 64, 64)
    found = dataclasses.replace(found, labels=np.array([3, 1600]), confidence=np.ones(2))
    file.write_bytes(lxmert_line(region_key("test", 0), found))
    source = FoundRegions("test", records=RECORDS, features=str(file))
    with pytest.raises(ValueError, match='regions of "test-0" are of class 1600.*another detector'):
        source[0]
