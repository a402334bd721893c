"""A folder of pictures becomes a file of regions, in one go or in several."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.detectors.oracle import GOLDENS
from vlp_jax.cli.main import main
from vlp_jax.data.regions import Regions, growing_folders, open_regions, record_folder
from vlp_jax.data.regions.growing_folders import Hdf5Groups, NpzPictures
from vlp_jax.data.regions.lxmert_file import lxmert_line, whole_keys
from vlp_jax.data.regions.record_folder import RecordFolder
from vlp_jax.inference.region_files import pictures_in, write_regions

BUNDLE = GOLDENS / "detector-frcnn-a"


class Pretended:
    """A detector whose regions are told by the picture's size, and that fails where it is odd."""

    batch = 2
    made_with = {"detector": "pretended", "convention": "none"}

    def __init__(self):
        self.seen = []

    def attempt(self, images):
        self.seen += images
        return {name: self.regions(name, path) for name, path in images.items()}

    def regions(self, name, path):
        width, height = Image.open(path).size
        if width % 2:
            return ValueError(f"{name} is odd")
        boxes = np.float32([[0, 0, width, height], [1, 1, 3, 4]])
        scores = np.float32([0.9, 0.25])
        features = np.float32(np.arange(6).reshape(2, 3)) / width
        return Regions(
            features,
            boxes,
            width,
            height,
            labels=np.array([3, 0]),
            confidence=scores,
            names=("été", "b"),
        )


@pytest.fixture
def folder(tmp_path):
    for i in range(20):
        file = tmp_path / "pictures" / f"half{i % 2}" / f"p{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + i, 30)).save(file)
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    "name, store, chosen",
    [
        ("a.tsv", "lxmert_tsv", ""),
        ("a", "array_record", ""),
        ("a", "npz", "npz"),
        ("a", "hdf5", "hdf5"),
    ],
)
def test_what_is_written_is_what_the_store_reads(folder, tmp_path, name, store, chosen):
    detector, file = Pretended(), tmp_path / "new" / name
    pictures = pictures_in(folder)
    done = []
    found = write_regions(detector, pictures, file, chosen, done.append)
    assert (found.written, found.before) == (10, 0) and done == list(range(1, 21))
    assert sorted(found.problems) == sorted(f"p{i} is odd" for i in range(1, 20, 2))
    read_store = open_regions(store, str(file))
    ending = ".npz" if store == "npz" else ""
    keys = sorted(f"p{i}" for i in range(0, 20, 2))
    assert sorted(read_store.keys()) == [key + ending for key in keys]
    for key in keys:
        read, expected = read_store[key + ending], detector.regions(key, pictures[key])
        assert (read.width, read.height) == (expected.width, expected.height)
        for name in ("features", "boxes", "labels", "confidence"):
            np.testing.assert_array_equal(getattr(read, name), getattr(expected, name))
        assert read.names == (None if store == "lxmert_tsv" else expected.names)
        if store == "lxmert_tsv":  # which holds attributes, of no confidence
            assert read.attributes.tolist() == read.attribute_confidence.tolist() == [0, 0]


@pytest.mark.parametrize("store", ["npz", "hdf5"])
def test_folders_of_other_formats_go_on_and_keep_their_format(folder, tmp_path, monkeypatch, store):
    monkeypatch.setattr(growing_folders, "GROWING", 4)
    monkeypatch.setattr(Hdf5Groups, "close", lambda self: None)  # as a kill does
    pictures, there = pictures_in(folder), tmp_path / "cut"
    write_regions(Pretended(), pictures, there, store)
    monkeypatch.undo()
    closed = 8 if store == "hdf5" else 10
    assert len(open_regions(store, str(there))) == closed
    found = write_regions(Pretended(), pictures, there, store)
    assert (found.written, found.before) == (10 - closed, closed)
    assert len(open_regions(store, str(there))) == 10
    with pytest.raises(ValueError, match=f"made with store = '{store}', and not 'array_record'"):
        write_regions(Pretended(), pictures, there)


@pytest.mark.parametrize("lost", [1, 40, 400])
def test_a_call_that_was_cut_short_is_completed(folder, tmp_path, lost):
    whole, file = tmp_path / "whole.tsv", tmp_path / "cut.tsv"
    pictures = pictures_in(folder)
    for path in (whole, file):
        write_regions(Pretended(), pictures, path)
    file.write_bytes(file.read_bytes()[:-lost])
    again = Pretended()
    found = write_regions(again, pictures, file)
    assert file.read_bytes() == whole.read_bytes()
    assert found.written == 10 - found.before > 0
    assert not set(again.seen) & set(list(whole_keys(whole))[: found.before])


def test_a_file_is_not_completed_by_another_detector(folder, tmp_path):
    file, other = tmp_path / "a.tsv", Pretended()
    write_regions(Pretended(), pictures_in(folder), file)
    other.made_with = {"detector": "pretended", "convention": "other"}
    before = file.read_bytes()
    with pytest.raises(ValueError, match="made with convention = 'none', and not 'other'"):
        write_regions(other, pictures_in(folder), file)
    assert file.read_bytes() == before


def test_pictures_must_be_there_and_have_names_of_their_own(folder, tmp_path):
    Image.new("RGB", (2, 2)).save(folder / "p3.jpg")
    with pytest.raises(ValueError, match='one name, "p3"'):
        pictures_in(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no pictures"):
        pictures_in(tmp_path / "empty")
    with pytest.raises(FileNotFoundError):
        pictures_in(tmp_path / "nowhere")


def test_a_folder_loses_what_no_closed_file_holds(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(record_folder, "GROWING", 4)
    monkeypatch.setattr(RecordFolder, "close", lambda self: None)  # as a kill does
    pictures, there = pictures_in(folder), tmp_path / "cut"
    write_regions(Pretended(), pictures, there)
    monkeypatch.undo()
    assert len(open_regions("array_record", str(there))) == 8
    found = write_regions(Pretended(), pictures, there)
    assert (found.written, found.before) == (2, 8)
    assert sorted(open_regions("array_record", str(there)).keys()) == sorted(
        f"p{i}" for i in range(0, 20, 2)
    )


def test_an_ending_that_nothing_writes_is_refused_before_work(folder, tmp_path):
    with pytest.raises(ValueError, match="ends in .h5: expected .tsv"):
        write_regions(Pretended(), pictures_in(folder), tmp_path / "a.h5", "hdf5")
    with pytest.raises(ValueError, match='"lmdb".*hdf5'):
        write_regions(Pretended(), pictures_in(folder), tmp_path / "a", "lmdb")
    assert not list(tmp_path.glob("a*"))


def test_what_the_format_cannot_hold_is_refused(tmp_path):
    regions = Regions(np.ones((1, 2), np.float32), np.zeros((1, 4), np.float32), 3, 3)
    with pytest.raises(ValueError, match="no classes"):
        lxmert_line("a", regions)
    with pytest.raises(ValueError, match="cannot be a key"):
        lxmert_line("a\tb", regions)
    with pytest.raises(ValueError, match="cannot be a key"):
        NpzPictures(tmp_path).add("../a", regions)


@pytest.mark.slow
def test_the_commands_of_the_page_find_skip_and_complete(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/detectors.md").read_text()
    (block,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    find, check = (shlex.split(line)[1:] for line in block.splitlines())
    weights = tmp_path / "frcnn-vg-finetuned"
    weights.mkdir()
    tensors = (BUNDLE / "checkpoint.safetensors").read_bytes()
    (weights / "model.safetensors").write_bytes(tensors)
    (weights / "config.json").write_bytes((BUNDLE / "config.json").read_bytes())
    given, photos = np.load(BUNDLE / "inputs.npz"), tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(given["image0"]).save(photos / "first.png")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    assert main(find) == 0
    said = capsys.readouterr().out
    assert "1 pictures written" in said and "broken" in said and "1 pictures have no" in said
    labels = np.load(BUNDLE / "outputs.npz")["single0/final/obj_ids"][0]
    assert open_regions("lxmert_tsv", "photos.tsv")["first"].labels.tolist() == labels.tolist()
    Image.fromarray(given["image0"]).save(photos / "second.png")
    assert main(find) == 0 and main(check) == 0
    assert "1 pictures written" in (said := capsys.readouterr().out) and "1 were there" in said
    assert json.loads(Path("photos.tsv.json").read_text())["convention"] == "transformers"
