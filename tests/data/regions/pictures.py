"""Random pictures' regions, and writers of every published format, for tests."""

import base64
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np

from vlp_jax.data.regions import Regions

CLASSES = 7


def random_regions(rng: np.random.Generator, rows: int = 5, width: int = 8) -> Regions:
    """Returns regions with all numeric fields; confidence falls, boxes are whole pixels."""
    size = rng.integers(40, 90, 2)
    corners = np.sort(rng.integers(0, size, (rows, 2, 2)), axis=1)
    scores = rng.random((rows, CLASSES)).astype(np.float32)
    return Regions(
        features=rng.standard_normal((rows, width)).astype(np.float16).astype(np.float32),
        boxes=corners.reshape(rows, 4).astype(np.float32),
        width=int(size[0]),
        height=int(size[1]),
        class_scores=scores / scores.sum(1, keepdims=True),
        labels=rng.integers(0, CLASSES, rows),
        confidence=np.sort(rng.random(rows))[::-1].astype(np.float32),
        attributes=rng.integers(0, 3, rows),
        attribute_confidence=rng.random(rows).astype(np.float32),
    )


def random_pictures(count: int = 3, **sizes: int) -> dict[str, Regions]:
    rng = np.random.default_rng()
    return {f"COCO_{k:012d}": random_regions(rng, **sizes) for k in rng.permutation(count)}


def only(regions: Regions, *kept: str) -> Regions:
    """Returns the regions without the optional fields that are not in `kept`."""
    return replace(regions, **dict.fromkeys(regions.contents() - set(kept)))


def assert_equal(read: Regions, expected: Regions, tolerance: float = 0.0) -> None:
    assert (read.width, read.height, read.names) == (
        expected.width,
        expected.height,
        expected.names,
    )
    assert read.contents() == expected.contents()
    for name in ("features", "boxes", *sorted(expected.contents() - {"names"})):
        found, wanted = getattr(read, name), getattr(expected, name)
        assert found.dtype == (np.int64 if name in ("labels", "attributes") else np.float32), name
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance, err_msg=name)


def encoded(array: np.ndarray, dtype: str = "<f4") -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


def lxmert_line(key: str, r: Regions) -> str:
    columns = (
        key, r.height, r.width, encoded(r.labels, "<i8"), encoded(r.confidence),
        encoded(r.attributes, "<i8"), encoded(r.attribute_confidence), len(r), encoded(r.boxes),
        encoded(r.features),
    )  # fmt: skip
    return "\t".join(map(str, columns))


def bottom_up_line(key: str, r: Regions, scores: bool = True) -> str:
    columns = [key, r.width, r.height, len(r), encoded(r.boxes), encoded(r.features)]
    return "\t".join(map(str, columns + [encoded(r.class_scores)] * scores))


def unit_boxes6(r: Regions) -> np.ndarray:
    boxes = r.boxes / np.array([r.width, r.height, r.width, r.height], np.float32)
    return np.concatenate([boxes, boxes[:, 2:] - boxes[:, :2]], 1)


def oscar_line(key: str, r: Regions, as_json: bool = False) -> str:
    text = encoded(np.concatenate([r.features, unit_boxes6(r)], 1))
    if as_json:
        return f"{key}\t" + json.dumps({"num_boxes": len(r), "features": text})
    return f"{key}\t{len(r)}\t{text}"


def write_lines(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines))
    return path


def uniter_fields(r: Regions) -> dict[str, np.ndarray]:
    return {
        "features": r.features.astype(np.float16),
        "norm_bb": unit_boxes6(r).astype(np.float16),
        "conf": r.confidence,
        "soft_labels": r.class_scores.astype(np.float16),
    }


def npz_bytes(fields: dict, **more) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **fields, **more)
    return stream.getvalue()


def msgpack_bytes(value, as_bytes: bool = True) -> bytes:
    """Writes as msgpack-numpy does; its old versions had text for the names of an array's parts."""
    import msgpack

    def encode(array):
        parts = {"nd": array.ndim > 0, "type": array.dtype.str, "data": array.tobytes()}
        if array.ndim:
            parts |= {"shape": array.shape, "kind": b""}
        return {k.encode(): v for k, v in parts.items()} if as_bytes else parts

    return msgpack.packb(value, default=encode, use_bin_type=True)


def write_lmdb(folder: Path, values: dict[str, bytes]) -> Path:
    import lmdb

    with lmdb.open(str(folder), map_size=2**24) as environment, environment.begin(write=True) as t:
        for key, value in values.items():
            t.put(key.encode(), value)
    return folder


def vilbert_pickle(key: str, r: Regions, texts: bool, protocol: int = 4) -> bytes:
    fields = {"image_id": key, "image_h": r.height, "image_w": r.width, "num_boxes": len(r)}
    if texts:  # a row of csv.DictReader
        fields = {name: str(value) for name, value in fields.items()}
        fields |= {"boxes": encoded(r.boxes), "features": encoded(r.features)}
    else:
        fields |= {"boxes": r.boxes, "features": r.features}
    return pickle.dumps(fields, protocol)
