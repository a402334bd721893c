"""Nothing in a file is executed, and damaged files are errors that say so."""

import errno
import os
import pickle
import resource
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from tests.data.regions.pictures import (
    msgpack_bytes,
    npz_bytes,
    oscar_line,
    random_pictures,
    random_regions,
    uniter_fields,
    vilbert_pickle,
    write_lines,
    write_lmdb,
)
from vlp_jax.data import open_files
from vlp_jax.data.regions import open_regions
from vlp_jax.data.regions.convert import check
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


def flagged(data, place, value):
    """Returns a zip with a byte of its last directory entry changed."""
    entry = data.rfind(b"PK\x01\x02")
    return data[: entry + place] + bytes([value]) + data[entry + place + 1 :]


NPY = b"\x93NUMPY\x01\x00v\x00"
BAD_ARRAYS = {
    "encrypted": lambda data: flagged(data, 8, 1),
    "another compression": lambda data: flagged(data, 10, 1),
    "a later zip": lambda data: flagged(data, 6, 114),
    "an open bracket": lambda _: (NPY + b"{'shape': (4, 8").ljust(128) + b"\0" * 128,
    "a huge array": lambda _: (
        NPY + b"{'descr': '<f4', 'fortran_order': False, 'shape': (70368744177664,), }"
    ).ljust(127) + b"\n",
}  # fmt: skip


@pytest.mark.parametrize("change", BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_whatever_a_picture_raises_is_a_value_error(tmp_path, regions, change):
    data = npz_bytes(uniter_fields(regions))
    for name, content in (("a.npz", data), ("b.npz", change(data))):
        (tmp_path / name).write_bytes(content)
    store = open_regions("npz", str(tmp_path))
    assert len(store["a.npz"]) == 5
    with pytest.raises(ValueError, match='picture "b.npz": .+'):
        store["b.npz"]
    found = check(store)
    assert found.pictures == 1 and len(found.problems) == 1


def test_a_number_without_data_in_msgpack():
    data = msgpack_bytes({"conf": np.float32(1)}).replace(b"\xc4\x04\0\0\x80?", b"\xc4\0")
    with pytest.raises(ValueError, match="damaged msgpack"):
        read_msgpack(data)


def test_deeply_nested_json_in_a_tsv(tmp_path, regions):
    lines = [oscar_line("a", regions), "b\t" + "[" * 100_000]
    store = open_regions("oscar_tsv", str(write_lines(tmp_path / "o.tsv", lines)))
    with pytest.raises(ValueError, match='picture "b": .*nested too deeply'):
        store["b"]


def test_errors_of_the_disk_stay_what_they_are(tmp_path, regions, monkeypatch):
    (tmp_path / KEY).write_bytes(npz_bytes(uniter_fields(regions)))
    store = open_regions("npz", str(tmp_path))

    def fail(row):
        raise PermissionError(errno.EACCES, "not allowed")

    monkeypatch.setattr(store, "_read", fail)
    with pytest.raises(PermissionError, match="not allowed$"):
        store[KEY]


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
        file["boxes"], file["image_w"], file["image_h"] = np.full((1, 2, 4), 2), [9], [9]
    with pytest.raises(ValueError, match='picture "8": the file is damaged'):
        open_regions("hdf5", str(path))["8"]


def write_padded(path, keys, **changed):
    """Writes rows of which two regions of three count."""
    count = len(keys)
    rng = np.random.default_rng()
    rows = {"image_id": keys, "num_boxes": [2] * count, "width": [9] * count, "height": [9] * count}
    rows |= {"features": rng.random((count, 3, 4)), "boxes": np.tile([1.0, 1, 5, 5], (count, 3, 1))}
    with h5py.File(path, "w") as file:
        for name, value in (rows | changed).items():
            file[name] = value


def test_counts_in_an_hdf5(tmp_path):
    for number, given in enumerate(([2.0, 2.0], [[2], [2]], ["2", "2"])):
        write_padded(tmp_path / f"{number}.h5", [7, 8], num_boxes=given)
        store = open_regions("hdf5", str(tmp_path / f"{number}.h5"))
        assert [len(store[key]) for key in "78"] == [2, 2]
    write_padded(tmp_path / "bad.h5", [7, 8], num_boxes=[2, 1.5])
    store = open_regions("hdf5", str(tmp_path / "bad.h5"))
    with pytest.raises(ValueError, match='bad.h5, picture "8": num_boxes is .*1.5.* whole number'):
        store["8"]


def test_few_hdf5_files_are_open_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(open_files, "_MOST_OPEN", 3)
    for number in range(12):
        write_padded(tmp_path / f"{number:02d}.h5", [number])
    before = len(os.listdir("/dev/fd"))
    store = open_regions("hdf5", str(tmp_path))
    order = np.random.default_rng().integers(12, size=60).astype(str).tolist()
    with ThreadPoolExecutor(4) as pool:
        features = [r.features for r in pool.map(store.__getitem__, order)]
    for key, found in zip(order, features):
        np.testing.assert_array_equal(found, store[key].features)
    assert len(os.listdir("/dev/fd")) <= before + 3


def test_too_many_open_files_are_named(tmp_path):
    write_padded(tmp_path / "a.h5", [7])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(free := os.dup(0))  # the next number that a file gets
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        with pytest.raises(OSError, match=r"too many open files, see ulimit -n: .*a\.h5"):
            open_regions("hdf5", str(tmp_path / "a.h5"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


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
    for text, message in (
        ("{", "not valid JSON"),
        ("[1]", "expected a JSON object"),
        ('{"a": 0}', "expected an object of picture"),
    ):
        counts.write_text(text)
        with pytest.raises(ValueError, match=message):
            open_regions("uniter_lmdb", str(tmp_path))


def test_uniters_selection_of_an_lmdb_that_keeps_all(tmp_path):
    (key, regions), *_ = random_pictures(1, rows=30).items()
    write_lmdb(tmp_path / "all", {key: msgpack_bytes(uniter_fields(regions))})
    wanted = min(100, max(10, int((regions.confidence > 0.2).sum())))
    assert len(open_regions("uniter_lmdb", str(tmp_path))[key]) == wanted
    assert len(open_regions("uniter_lmdb", str(tmp_path), max_boxes=10)[key]) == 10


@pytest.mark.parametrize(
    ("numbers", "changed", "message"),
    [
        ({7: 0}, {"pos_boxes": [[0, 9]]}, 'picture "7": its regions are 0 to 9, and there are 3'),
        ({7: 0}, {"pos_boxes": [0, 2]}, r"pos_boxes is int64 \[2\], expected whole numbers \[M, 2"),
        ({7: 1}, {}, "imgid2idx.pkl: expected id → number of each picture, 0 to 0"),
        ([7], {}, "imgid2idx.pkl: expected id → number of each picture"),
        ({7: 0}, {"spatial_features": None}, 'there is no "spatial_features"; the file holds im'),
        (None, {}, "imgid2idx.pkl.* does not exist"),
    ],
)
def test_all_regions_in_one_array(tmp_path, numbers, changed, message):
    shares = np.tile(np.float32([0, 0, 0.5, 0.5, 0.5, 0.5]), (3, 1))
    rows = {"image_features": np.ones((3, 4)), "spatial_features": shares, "pos_boxes": [[0, 3]]}
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for name, value in (rows | changed).items():
            if value is not None:
                file[name] = value
    if numbers is not None:
        (tmp_path / "a_imgid2idx.pkl").write_bytes(pickle.dumps(numbers, 2))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        open_regions("adaptive_hdf5", str(tmp_path / "a.hdf5"))
