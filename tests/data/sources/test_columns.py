"""Tests of turning rows into records by the names of columns."""

from pathlib import Path

import numpy as np
import pytest

from vlp_jax.data.sources.columns import Columns, number_texts

COLUMNS = Columns("image", "captions.text", "id")


def row(**other):
    return {"image": b"jpg", "captions": {"text": [b"a", " b "]}, "id": 7} | other


def test_a_row_becomes_a_record():
    expected = {"image": b"jpg", "image_id": 7, "captions": ["a", "b"], "name": "set row 3"}
    assert COLUMNS.record(row(), 3, "set row 3") == expected
    assert Columns("image", "captions.text").record(row(), 3, "")["image_id"] == 3


@pytest.mark.parametrize(
    "stored, image",
    [
        ({"bytes": b"jpg", "path": "a.jpg"}, b"jpg"),
        ({"bytes": None, "path": "/a.jpg"}, "/a.jpg"),
        (Path("/a.jpg"), "/a.jpg"),
    ],
)
def test_forms_of_pictures(stored, image):
    assert COLUMNS.record(row(image=stored), 0, "")["image"] == image
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert COLUMNS.record(row(image=pixels), 0, "")["image"] is pixels


@pytest.mark.parametrize("stored, number", [("12", 12), (b"12", 12), (np.int64(5), 5), (5.0, 5)])
def test_forms_of_image_ids(stored, number):
    assert COLUMNS.record(row(id=stored), 0, "")["image_id"] == number


@pytest.mark.parametrize(
    "other, message",
    [
        ({"captions": {"text": ["", None]}}, "the caption is empty"),
        ({"captions": {"txt": "a"}}, "Known: txt"),
        ({"image": None}, "the image is None"),
        ({"image": b""}, "the image is b''"),
        ({"image": {"bytes": None, "path": None}}, "the image is None"),
        ({"id": ""}, "the image id is ''"),
        ({"id": "1" * 5000}, "the image id is '11111"),
        ({"id": 2**31}, "the image id is 2147483648"),
        ({"id": -1}, "the image id is -1"),
        ({"id": 1.5}, "the image id is 1.5"),
        ({"id": None}, "the image id is None"),
        ({"id": float("inf")}, "the image id is inf"),
    ],
)
def test_unusable_rows_are_named(other, message):
    with pytest.raises(ValueError, match=f"set row 3: .*{message}"):
        COLUMNS.record(row(**other), 3, "set row 3")


def test_unknown_columns_name_the_nearest():
    COLUMNS.check(["id", "captions", "image"], "set")
    with pytest.raises(ValueError, match=r'set \(option captions\) "captions".*mean "caption"'):
        COLUMNS.check(["id", "caption", "image"], "set")


def test_texts_as_image_ids():
    first, again, other = (COLUMNS.record(row(id=i), 0, "")["image_id"] for i in ("a7", b"a7", "b"))
    assert first == again != other and 0 <= first < 2**31
    assert number_texts(["7", b"9", "7"]).tolist() == [7, 9, 7]
    assert number_texts(["7", "coco_7", "coco_7", "7", "x"]).tolist() == [0, 1, 1, 0, 2]
    assert number_texts(["7", str(2**31)]).tolist() == [0, 1]
