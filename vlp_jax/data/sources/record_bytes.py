"""Records as bytes and back: a safetensors blob of the arrays, the other values as JSON in it."""

import json
import os
from typing import Any

import cv2
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from vlp_jax.data.foreign import foreign_bytes
from vlp_jax.data.json_text import parse_json
from vlp_jax.data.paths import any_path, file_bytes
from vlp_jax.data.sources.base import Record

_IMAGE = "image"
_LENGTH = 8  # bytes of the number in front of a safetensors header


def encode_record(record: Record) -> bytes:
    """Returns a record as bytes; pictures become encoded files (arrays lossless, as PNG).

    FileNotFoundError or ValueError for a picture path that can't be read, ValueError for values
    that are neither arrays nor JSON.
    """
    arrays = {key: value for key, value in record.items() if isinstance(value, np.ndarray)}
    values = {key: value for key, value in record.items() if key not in arrays}
    if _IMAGE in record:
        values.pop(_IMAGE, None)
        arrays[_IMAGE] = np.frombuffer(_image_bytes(record[_IMAGE]), np.uint8)
    try:
        text = json.dumps(values, default=_number, ensure_ascii=False)
        return save({key: np.ascontiguousarray(a) for key, a in arrays.items()}, {"values": text})
    except (TypeError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"the record cannot be stored: {error}") from None


def decode_record(data: bytes) -> Record:
    """Returns the record that `encode_record` stored; ValueError for other or damaged bytes."""
    with foreign_bytes(f"damaged record of {len(data)} bytes"):
        arrays = load(data)
        header = data[_LENGTH : _LENGTH + int.from_bytes(data[:_LENGTH], "little")]
        values = parse_json(header, "header")["__metadata__"]["values"]
        record = parse_json(values, "values") | arrays
    if _IMAGE in arrays:
        record[_IMAGE] = arrays[_IMAGE].tobytes()
    return record


def _image_bytes(image: Any) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | os.PathLike):
        return file_bytes(any_path(image, "image"))
    if not isinstance(image, np.ndarray) or image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"the image is a {type(image).__name__}; expected bytes, a path or uint8")
    if image.ndim == 3 and image.shape[2] in (3, 4):
        code = cv2.COLOR_RGBA2BGRA if image.shape[2] == 4 else cv2.COLOR_RGB2BGR
        image = cv2.cvtColor(image, code)
    return cv2.imencode(".png", image)[1].tobytes()


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no text, number, array, list or dictionary")
