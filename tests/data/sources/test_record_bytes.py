"""Tests of storing records as bytes."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from vlp_jax.data.images import decode
from vlp_jax.data.sources.record_bytes import decode_record, encode_record

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(0, 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda k: k != "image"), values, max_size=4))
def test_texts_and_numbers_survive(record):
    assert decode_record(encode_record(record)) == record


def test_arrays_survive_and_numpy_numbers_become_numbers():
    rng = np.random.default_rng()
    boxes = rng.random((3, 4), np.float32)
    arrays = {"boxes": boxes, "turned": boxes.T, "none": boxes[:0], "ids": np.arange(3)}
    stored = decode_record(encode_record(arrays | {"score": np.float32(0.5), "id": np.int64(7)}))
    assert stored.pop("score") == 0.5 and stored.pop("id") == 7
    for name, array in arrays.items():
        assert stored[name].dtype == array.dtype
        np.testing.assert_array_equal(stored[name], array)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_pixels_are_stored_without_loss(shape):
    pixels = np.random.default_rng().integers(0, 256, shape, dtype=np.uint8)
    stored = decode_record(encode_record({"image": pixels}))["image"]
    assert isinstance(stored, bytes)
    np.testing.assert_array_equal(decode(stored), decode(pixels))


def test_pictures_given_as_paths_are_copied(tmp_path):
    file = tmp_path / "a.png"
    cv2.imwrite(str(file), np.zeros((3, 4, 3), np.uint8))
    assert decode_record(encode_record({"image": str(file)}))["image"] == file.read_bytes()
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        encode_record({"image": str(tmp_path / "b.png")})


def test_other_values_and_damaged_bytes_are_refused():
    with pytest.raises(ValueError, match="cannot be stored: a object is no text"):
        encode_record({"x": object()})
    with pytest.raises(ValueError, match="cannot be stored"):
        encode_record({"x": np.array([object()])})
    with pytest.raises(ValueError, match="the image is a float; expected bytes"):
        encode_record({"image": 3.0})
    data = encode_record({"boxes": np.zeros((2, 4)), "captions": ["a"]})
    listed = save({"boxes": np.zeros((2, 4))}, {"values": "[]"})
    for damaged in (b"", data[:-3], data[9:], b"\x80\x04]", b"\xff" * 30, listed):
        with pytest.raises(ValueError, match="damaged record"):
            decode_record(damaged)
