"""Nothing in a file is executed, and damaged files are errors that say so."""

import os
import pickle

import h5py
import numpy as np
import pytest

from tests.data.regions.pictures import (
    msgpack_bytes,
    npz_bytes,
    random_pictures,
    random_regions,
    uniter_fields,
    vilbert_pickle,
    write_lmdb,
)
from vlp_jax.data.regions import open_regions
from vlp_jax.data.regions.msgpack_arrays import read_msgpack

KEY = "a.npz"


class Attack:
    """Writes a file when it is unpickled by a reader that runs what it reads."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(tmp_path):
    yield tmp_path / "trap"
    assert not (tmp_path / "trap").exists()


@pytest.fixture
def regions():
    return random_regions(np.random.default_rng())


def test_the_attack_works_on_a_careless_reader(tmp_path):
    pickle.loads(pickle.dumps(Attack(tmp_path / "trap")))
    assert (tmp_path / "trap").is_dir()


@pytest.mark.parametrize("nested", [False, True])
def test_pickles_in_a_vilbert_lmdb(tmp_path, trap, nested):
    value = {"features": Attack(trap)} if nested else Attack(trap)
    path = write_lmdb(tmp_path / "db", {"1": pickle.dumps(value)})
    with pytest.raises(ValueError, match="could run code on this machine.*Nothing was run"):
        open_regions("vilbert_lmdb", str(path))


def test_pickles_in_arrays(tmp_path, trap, regions):
    objects = np.array([Attack(trap)] * 5, object)
    (tmp_path / KEY).write_bytes(npz_bytes(uniter_fields(regions) | {"conf": objects}))
    with pytest.raises(
        ValueError, match="no .npz or .npy, or holds pickled objects, which are not read"
    ):
        open_regions("npz", str(tmp_path))
    value = pickle.dumps({"features": objects, "boxes": regions.boxes, "num_boxes": 5})
    path = write_lmdb(tmp_path / "db", {"1": value})
    with pytest.raises(ValueError):
        open_regions("vilbert_lmdb", str(path))


@pytest.mark.parametrize("kind", ["O", "|O", "V8", "S4", "f4,f4", "datetime64", 4, None])
def test_arrays_of_other_things_in_msgpack(kind):
    import msgpack

    parts = {b"nd": True, b"type": kind, b"kind": b"O", b"shape": [1], b"data": b"\0" * 8}
    with pytest.raises(ValueError, match="an array of type .* expected numbers"):
        read_msgpack(msgpack.packb({"x": parts}))


def test_damaged_msgpack(regions):
    data = msgpack_bytes(uniter_fields(regions))
    for broken in (data[:-3], data + b"x", b"", b"\xc1"):
        with pytest.raises(ValueError, match="damaged msgpack"):
            read_msgpack(broken)
    with pytest.raises(ValueError, match="damaged msgpack"):
        read_msgpack(data.replace(b"\xc4\x05shape", b"\xc4\x05shapf"))


@pytest.mark.parametrize(
    "value, message",
    [
        (b"\x80\x04]\x94.", "the value is a list, expected a dictionary"),
        (b"\x80\x04}q", "damaged or truncated pickle"),
        (b"\x93\x01\x02\x03", "is no pickle and no list of features, cls_prob, boxes"),
        (b"garbage", "damaged msgpack|no pickle"),
    ],
)
def test_damaged_vilbert_values(tmp_path, value, message):
    with pytest.raises(ValueError, match=message):
        open_regions("vilbert_lmdb", str(write_lmdb(tmp_path / "db", {"1": value})))


def test_a_count_that_does_not_fit(tmp_path, regions):
    fields = pickle.loads(vilbert_pickle("1", regions, texts=True))
    for count, message in (
        ("3", "boxes hold 80 bytes, which are not 3 rows"),
        (None, "num_boxes is None"),
    ):
        value = pickle.dumps(fields | {"num_boxes": count})
        with pytest.raises(ValueError, match=message):
            open_regions("vilbert_lmdb", str(write_lmdb(tmp_path / f"db{count}", {"1": value})))


def test_files_that_are_no_lmdb(tmp_path):
    (tmp_path / "garbage.mdb").write_bytes(b"garbage" * 1000)
    with pytest.raises(ValueError, match="the LMDB can't be read: .*not an LMDB"):
        open_regions("vilbert_lmdb", str(tmp_path / "garbage.mdb"))
    with pytest.raises(ValueError, match=r"expected one LMDB \(a folder with data.mdb\).* none"):
        open_regions("uniter_lmdb", str(tmp_path))
    with pytest.raises(ValueError, match="holds no pictures"):
        open_regions("vilbert_lmdb", str(write_lmdb(tmp_path / "empty", {"keys": b""})))


def test_the_right_lmdb_must_be_named(tmp_path, regions):
    for name in ("all", "feat_numbb36"):
        write_lmdb(tmp_path / name, {KEY: msgpack_bytes(uniter_fields(regions))})
    with pytest.raises(ValueError, match="expected one LMDB .* found all, feat_numbb36"):
        open_regions("uniter_lmdb", str(tmp_path))
    assert len(open_regions("uniter_lmdb", str(tmp_path / "all"))) == 1


def test_damaged_npz(tmp_path, regions):
    data = npz_bytes(uniter_fields(regions))
    file = tmp_path / KEY
    for broken in (data[:-30], data[:100] + b"\0" * 20 + data[120:], b"", b"PK\x03\x04"):
        file.write_bytes(broken)
        with pytest.raises(ValueError, match="damaged file|no features|pickled"):
            open_regions("npz", str(tmp_path))
    with pytest.raises(ValueError, match="is a file, expected a folder of .npz"):
        open_regions("npz", str(file))


def test_files_that_are_no_hdf5(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(ValueError, match="holds no file that ends in .h5"):
        open_regions("hdf5", str(tmp_path))
    path.write_bytes(b"garbage")
    with pytest.raises(ValueError, match="is no readable HDF5 file"):
        open_regions("hdf5", str(path))


@pytest.mark.parametrize(
    "content, message",
    [
        ({}, "neither a group for each picture nor image_id .* nothing"),
        ({"image_features": np.ones((3, 4))}, "neither a group .* it holds image_features"),
        ({"image_id": [7, 7]}, 'the key "7" occurs twice'),
        ({"image_id": [7], "features": np.ones((1, 2, 4))}, 'picture "7": there are no boxes'),
    ],
)
def test_incomplete_hdf5(tmp_path, content, message):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in content.items():
            file[name] = value
    with pytest.raises(ValueError, match=message):
        open_regions("hdf5", str(tmp_path))


def test_an_hdf5_shorter_than_its_list(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["image_id"], file["features"] = [7, 8], np.ones((1, 2, 4))
        file["boxes"], file["image_w"], file["image_h"] = np.ones((1, 2, 4)), [9], [9]
    with pytest.raises(ValueError, match='picture "8": the file is damaged'):
        open_regions("hdf5", str(path))["8"]


def test_the_count_files_of_uniter(tmp_path):
    import json

    pictures = random_pictures(2, rows=12)
    values = {f"{k}.npz": msgpack_bytes(uniter_fields(r)) for k, r in pictures.items()}
    write_lmdb(tmp_path / "feat_th0.2_max100_min10", values)
    counts = tmp_path / "nbb_th0.2_max100_min10.json"
    first, second = values
    counts.write_text(json.dumps({first: 11, second: 12}))
    store = open_regions("uniter_lmdb", str(tmp_path))
    assert (len(store[first]), len(store[second])) == (11, 12)
    counts.write_text(json.dumps({first: 12, second: 13}))
    with pytest.raises(ValueError, match="says 13 regions, but there are 12 features"):
        open_regions("uniter_lmdb", str(tmp_path))[second]
    counts.write_text(json.dumps({first: 12}))
    with pytest.raises(ValueError, match="beside the LMDB has no such picture"):
        open_regions("uniter_lmdb", str(tmp_path))[second]
    for text, message in (("{", "is not JSON"), ("[1]", "expected an object of picture")):
        counts.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_regions("uniter_lmdb", str(tmp_path))


def test_uniters_selection_of_an_lmdb_that_keeps_all(tmp_path):
    (key, regions), *_ = random_pictures(1, rows=30).items()
    write_lmdb(tmp_path / "all", {key: msgpack_bytes(uniter_fields(regions))})
    wanted = min(100, max(10, int((regions.confidence > 0.2).sum())))
    assert len(open_regions("uniter_lmdb", str(tmp_path))[key]) == wanted
    assert len(open_regions("uniter_lmdb", str(tmp_path), max_boxes=10)[key]) == 10
