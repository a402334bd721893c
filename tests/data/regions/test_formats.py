"""Every published format gives back the regions that were written, whole and at random."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from tests.data.regions.pictures import (
    assert_equal,
    bottom_up_line,
    lxmert_line,
    msgpack_bytes,
    npz_bytes,
    only,
    oscar_line,
    random_pictures,
    unit_boxes6,
    uniter_fields,
    vilbert_pickle,
    write_lines,
    write_lmdb,
)
from vlp_jax.data.regions import REGION_STORES, Regions, open_regions


def lxmert(folder, pictures):
    path = write_lines(folder / "a.tsv", [lxmert_line(k, r) for k, r in pictures.items()])
    kept = ("labels", "confidence", "attributes", "attribute_confidence")
    return "lxmert_tsv", path, {}, {k: only(r, *kept) for k, r in pictures.items()}


def bottom_up(folder, pictures):
    lines = [bottom_up_line(k, r, scores=False) for k, r in pictures.items()]
    path = write_lines(folder / "a.tsv", lines)
    return "butd_tsv", path, {}, {k: only(r) for k, r in pictures.items()}


def bottom_up_with_scores(folder, pictures):
    path = write_lines(folder / "a.tsv.0", [bottom_up_line(k, r) for k, r in pictures.items()])
    return "butd_tsv", path, {}, {k: only(r, "class_scores") for k, r in pictures.items()}


def in_unit_square(r: Regions, *kept: str) -> Regions:
    boxes, more = unit_boxes6(r), {n: getattr(r, n) for n in kept}
    return Regions(r.features, boxes[:, :4], 1, 1, box_sizes=boxes[:, 4:], **more)


def oscar(folder, pictures, as_json=False):
    lines = [oscar_line(k, r, as_json) for k, r in pictures.items()]
    path = write_lines(folder / "features.tsv", lines)
    return "oscar_tsv", path, {}, {k: in_unit_square(r) for k, r in pictures.items()}


def oscar_json(folder, pictures):
    return oscar(folder, pictures, as_json=True)


def oscar_with_tags(folder, pictures, sized=False):
    store, path, _, expected = oscar(folder, pictures)
    lines = []
    for key, r in reversed(pictures.items()):  # in any order
        names = [f"thing {label}" for label in r.labels]
        found = [
            {"class": name, "conf": float(c), "rect": [0, 0, 1, 1]}
            for name, c in zip(names, r.confidence)
        ]
        content = {"objects": found, "image_w": r.width, "image_h": r.height} if sized else found
        lines.append(f"{key}\t{json.dumps(content)}")
        boxes, width, height = expected[key].boxes, 1, 1
        if sized:
            boxes, width, height = r.boxes, r.width, r.height
        more = {"names": tuple(names), "box_sizes": unit_boxes6(r)[:, 4:]}
        expected[key] = Regions(r.features, boxes, width, height, confidence=r.confidence, **more)
    labels = write_lines(folder / "label.tsv", lines)
    return store, path, {"labels": str(labels)}, expected


def oscar_with_predictions(folder, pictures):
    return oscar_with_tags(folder, pictures, sized=True)


UNITER = ("class_scores", "confidence")


def uniter_npz(folder, pictures):
    for key, r in pictures.items():
        (folder / "deep").mkdir(exist_ok=True)
        # Its extractor hands `allow_pickle` to savez, which files it as an array.
        (folder / "deep" / f"{key}.npz").write_bytes(npz_bytes(uniter_fields(r), allow_pickle=True))
    expected = {f"deep/{k}.npz": in_unit_square(r, *UNITER) for k, r in pictures.items()}
    return "uniter_npz", folder, {"min_boxes": 5}, expected


def uniter_lmdb(folder, pictures, write=msgpack_bytes, name="feat_th0.2_max100_min10"):
    values = {f"{k}.npz": write(uniter_fields(r)) for k, r in pictures.items()}
    values["__keys__"] = json.dumps(list(values)).encode()
    write_lmdb(folder / name, values)
    expected = {f"{k}.npz": in_unit_square(r, *UNITER) for k, r in pictures.items()}
    return "uniter_lmdb", folder, {}, expected


def uniter_old_msgpack(folder, pictures):
    return uniter_lmdb(folder, pictures, lambda fields: msgpack_bytes(fields, as_bytes=False))


def uniter_compressed(folder, pictures):
    return uniter_lmdb(folder, pictures, npz_bytes, "feat_numbb36_compressed")


def vilbert(folder, pictures, texts=False, protocol=4):
    values = {k: vilbert_pickle(k, r, texts, protocol) for k, r in pictures.items()}
    values["keys"] = pickle.dumps([key.encode() for key in values])
    path = write_lmdb(folder / "features.lmdb", values)
    return "vilbert_lmdb", path, {}, {k: only(r) for k, r in pictures.items()}


def vilbert_beta(folder, pictures):
    return vilbert(folder, pictures, texts=True, protocol=3)


def vilbert_captions(folder, pictures):
    values = {}
    for number, (key, r) in enumerate(pictures.items()):
        texts = (str(len(r)), str(r.height), str(r.width), key, "a caption")
        values[f"{number:08d}"] = msgpack_bytes([r.features, r.class_scores, r.boxes, *texts])
    values["__keys__"] = msgpack_bytes(list(values))
    expected = {f"{i:08d}": only(r, "class_scores") for i, r in enumerate(pictures.values())}
    return "vilbert_lmdb", write_lmdb(folder / "training_feat_all.lmdb", values), {}, expected


def own_npz(folder, pictures):
    for key, r in pictures.items():
        fields = {name: getattr(r, name) for name in r.contents() | {"features", "boxes"}}
        size = {"width": r.width, "height": r.height, "names": [f"n{i}" for i in range(len(r))]}
        (folder / f"{key}.npz").write_bytes(npz_bytes(fields, **size))
    expected = {}
    for key, r in pictures.items():
        names = tuple(f"n{i}" for i in range(len(r)))
        expected[f"{key}.npz"] = Regions(**{**vars(r), "names": names})
    return "npz", folder, {}, expected


def visualbert_npy(folder, pictures):
    whole = np.array([[0, 0, 1, 1]], np.float32)
    expected = {}
    for key, r in pictures.items():
        np.save(folder / f"{key}.npy", r.features)
        expected[f"{key}.npy"] = Regions(r.features, np.tile(whole, (len(r), 1)), 1, 1)
    return "npz", folder, {"boxes": "none"}, expected


def hdf5_groups(folder, pictures):
    with h5py.File(folder / "a.h5", "w") as file:
        for key, r in pictures.items():
            group = file.create_group(key)
            group.attrs["image_w"], group.attrs["image_h"] = r.width, r.height
            for name in r.contents() | {"features", "boxes"}:
                group[name] = getattr(r, name)
    return "hdf5", folder, {}, dict(pictures)


def hdf5_rows(folder, pictures):
    most = max(map(len, pictures.values())) + 2
    kept = ("confidence",)
    with h5py.File(folder / "a.hdf5", "w") as file:
        file["image_id"] = [key.encode() for key in pictures]
        file["num_boxes"] = [len(r) for r in pictures.values()]
        file["image_w"] = [r.width for r in pictures.values()]
        file["image_h"] = [r.height for r in pictures.values()]
        for name in ("features", "boxes", *kept):
            rows = [getattr(r, name) for r in pictures.values()]
            padded = np.zeros((len(rows), most, *rows[0].shape[1:]), np.float32)
            for place, row in zip(padded, rows):
                place[: len(row)] = row
            file[name] = padded
    path = folder / "a.hdf5"
    return "hdf5", path, {}, {k: only(r, *kept) for k, r in pictures.items()}


def adaptive_hdf5(folder, pictures):
    """All regions one after the other, the pictures in another order than those of the index."""
    features = [r.features for r in pictures.values()]
    shares = [
        np.concatenate([x := r.boxes / np.tile([r.width, r.height], 2), x[:, 2:] - x[:, :2]], 1)
        for r in pictures.values()
    ]
    ends = np.cumsum([len(r) for r in pictures.values()])
    rows = np.stack([ends - [len(r) for r in pictures.values()], ends], 1)
    with h5py.File(folder / "train.hdf5", "w") as file:
        file["image_features"] = np.concatenate(features)[:, :2]
        file["spatial_features"] = np.concatenate(shares).astype(np.float32)
        file["pos_boxes"] = rows[::-1]
    numbers = {key: len(rows) - 1 - i for i, key in enumerate(pictures)}
    (folder / "train_imgid2idx.pkl").write_bytes(pickle.dumps(numbers, 2))
    expected = {
        key: Regions(np.concatenate([r.features[:, :2], x], 1), x[:, :4], 1, 1, box_sizes=x[:, 4:])
        for (key, r), x in zip(pictures.items(), shares)
    }
    return "adaptive_hdf5", folder / "train.hdf5", {}, expected


FORMATS = (
    lxmert, bottom_up, bottom_up_with_scores, oscar, oscar_json, oscar_with_tags,
    oscar_with_predictions, uniter_npz, uniter_lmdb, uniter_old_msgpack, uniter_compressed, vilbert,
    vilbert_beta, vilbert_captions, own_npz, visualbert_npy, hdf5_groups, hdf5_rows,
    adaptive_hdf5,
)  # fmt: skip


@pytest.fixture(params=FORMATS, ids=lambda write: write.__name__)
def written(request, tmp_path):
    return request.param(tmp_path, random_pictures())


TOLERANCE = 1e-3  # boxes as float16 shares of the picture


def test_what_was_written_is_read(written):
    kind, path, options, expected = written
    store = open_regions(kind, str(path), **options)
    assert len(store) == len(expected) and sorted(store.keys()) == sorted(expected)
    assert store.dimension == 8
    for key in np.random.default_rng().permutation(store.keys()):
        assert_equal(store[key], expected[key], TOLERANCE)
        assert store.contents == expected[key].contents()
        assert key in store and "nothing" not in store


def test_stores_go_to_other_processes_and_threads(written):
    kind, path, options, expected = written
    store = open_regions(kind, str(path), **options)
    again = pickle.loads(pickle.dumps(store))
    with ThreadPoolExecutor(4) as pool:
        for key, read in zip(expected, pool.map(again.__getitem__, expected)):
            assert_equal(read, expected[key], TOLERANCE)
    assert_equal(store[key], expected[key], TOLERANCE)


def test_the_same_files_can_be_open_twice(written):
    kind, path, options, expected = written
    first, second = (open_regions(kind, str(path), **options) for _ in range(2))
    key = first.keys()[0]
    assert_equal(first[key], second[key])


def test_class_scores_can_be_left_out(written):
    kind, path, options, expected = written
    store = open_regions(kind, str(path), class_scores=False, **options)
    key = store.keys()[0]
    assert store[key].contents() == expected[key].contents() - {"class_scores"} == store.contents


def test_a_missing_key_names_the_nearest(written):
    kind, path, options, expected = written
    store = open_regions(kind, str(path), **options)
    key = store.keys()[-1]
    with pytest.raises(ValueError, match=f'no regions of the picture.*Did you mean "{key}"'):
        store[key + "x"]


def test_a_wrong_width_is_found_when_the_file_is_opened(written):
    kind, path, options, _ = written
    with pytest.raises(ValueError, match="features are 8 wide, expected 2048"):
        open_regions(kind, str(path), dimension=2048, **options)


def test_all_formats_are_tested(tmp_path):
    tested = set()
    for write in FORMATS:
        (folder := tmp_path / write.__name__).mkdir()
        tested.add(write(folder, random_pictures(1))[0])
    assert tested | {"array_record"} == set(REGION_STORES)  # that one: test_convert.py
