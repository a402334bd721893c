"""Tests of the index of a folder of pictures: what is encoded when, what is found, and damage."""

import os

import numpy as np
import pytest
from PIL import Image

import vlp_jax
from vlp_jax.inference import ImageIndex
from vlp_jax.inference.index import FILE


@pytest.fixture
def folder(tmp_path):
    """Five pictures, two of them in a folder below."""
    (tmp_path / "photos" / "below").mkdir(parents=True)
    for i in range(5):
        draw(tmp_path / "photos" / ("below" if i > 2 else ".") / f"{i}.png", i)
    return tmp_path / "photos"


def draw(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def encoded(model, monkeypatch):
    """How many pictures each call of `encode_image` was given."""
    counts, real = [], model.encode_image
    monkeypatch.setattr(model, "encode_image", lambda x: counts.append(len(x)) or real(x))
    return counts


def names(found, folder):
    return [str(x.path.relative_to(folder)) for x in found]


def test_it_finds_what_the_model_finds(model, folder):
    index = ImageIndex(model, folder)
    paths = sorted(folder.rglob("*.png"), key=lambda p: str(p.relative_to(folder)))
    for rerank in (0, 3):
        found = index.search("a red apple", top=4, rerank=rerank)
        verb = model.retrieve("a red apple", paths, top=4, rerank=rerank)
        assert [x.path for x in found] == [paths[x.index] for x in verb]
        np.testing.assert_allclose([x.score for x in found], [x.score for x in verb], atol=1e-5)


def test_each_picture_is_encoded_once(model, folder, encoded):
    first = ImageIndex(model, folder)
    assert len(first.stale) == 5 and len(first) == 0
    before = first.search("a dog", rerank=0)
    again = ImageIndex(model, folder)
    assert again.stale == [] and len(again) == 5 and 0 < again.seconds < np.inf
    assert again.search("a dog", rerank=0) == before
    assert encoded == [5]


def test_only_what_changed_is_encoded_again(model, folder, encoded):
    ImageIndex(model, folder).update()
    (folder / "0.png").unlink()
    draw(folder / "1.png", 99)
    os.utime(folder / "1.png", ns=(1, 1))
    draw(folder / "new.png", 7)
    index = ImageIndex(model, folder)
    assert index.removed == ["0.png"] and index.stale == ["1.png", "new.png"]
    found = names(index.search("a dog", top=9), folder)
    assert sorted(found) == ["1.png", "2.png", "below/3.png", "below/4.png", "new.png"]
    assert encoded == [5, 2]
    fresh = ImageIndex(model, folder, folder.parent / "fresh")
    assert names(fresh.search("a dog", top=9), folder) == found


def test_pictures_that_are_gone_leave_the_file(model, folder, encoded):
    ImageIndex(model, folder).update()
    (folder / "0.png").unlink()
    ImageIndex(model, folder).update()
    assert ImageIndex(model, folder).removed == [] and encoded == [5]


def test_another_model_encodes_all_again(model, run, folder):
    ImageIndex(model, folder).update()
    teacher = vlp_jax.load(run, which="teacher")
    index = ImageIndex(teacher, folder)
    assert index.other_model and len(index) == 0 and len(index.stale) == 5
    index.update()
    assert not ImageIndex(teacher, folder).other_model
    assert not ImageIndex(vlp_jax.load(run, which="teacher"), folder).stale
    assert ImageIndex(model, folder).other_model


def test_a_run_that_is_killed_loses_the_block_at_most(model, folder, monkeypatch):
    monkeypatch.setattr("vlp_jax.inference.index._BLOCK", 2)
    done = []

    def report(count, of):
        done.append((count, of))
        if count == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ImageIndex(model, folder).update(report)
    assert done == [(2, 5), (4, 5)]
    left = ImageIndex(model, folder)
    assert len(left) == 4 and len(left.stale) == 1
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == [FILE]


def test_what_cannot_be_read_is_left_out(model, folder):
    (folder / "text.png").write_text("not a picture")
    (folder / "empty.jpg").touch()
    (folder / "nowhere.png").symlink_to(folder / "gone.png")
    (folder / "notes.txt").write_text("no picture, and not meant as one")
    index = ImageIndex(model, folder)
    assert len(index.search("a dog", top=99)) == 5
    assert set(index.unreadable) == {"text.png", "empty.jpg", "nowhere.png"}
    assert "not a picture" in index.unreadable["text.png"]
    assert index.stale == []


def test_only_the_best_are_read_again(model, folder, monkeypatch):
    index = ImageIndex(model, folder)
    index.update()
    read, real = [], model.inputs.pictures
    watched = lambda self, verb, images, regions=None: read.append(images) or real(verb, images)
    monkeypatch.setattr(type(model.inputs), "pictures", watched)
    found = index.search("a dog", top=2, rerank=2)
    (paths,) = read
    assert {x.path for x in found} == set(paths)


def test_folders_without_pictures(model, tmp_path, folder):
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="none holds no pictures: expected files that end in .png"):
        ImageIndex(model, tmp_path / "none")
    with pytest.raises(ValueError, match="0.png is a file; expected a folder of pictures"):
        ImageIndex(model, folder / "0.png")
    with pytest.raises(FileNotFoundError, match='photo does not exist. Did you mean "photos"'):
        ImageIndex(model, tmp_path / "photo")
    (tmp_path / "none" / "a.png").write_text("not a picture")
    with pytest.raises(ValueError, match="no picture of .* can be read; the first: .*a.png"):
        ImageIndex(model, tmp_path / "none").search("a dog")


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty", "folder"])
def test_a_damaged_index(model, folder, damage):
    ImageIndex(model, folder).update()
    file = folder / FILE
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    if damage == "folder":
        file.unlink()
        file.mkdir()
    else:
        whole = {"cut": data[:-5], "flipped": data, "text": b"hello", "empty": b""}
        file.write_bytes(whole[damage])
    with pytest.raises(ValueError, match="is damaged or no index of pictures .*: delete it"):
        ImageIndex(model, folder)


def test_where_nothing_can_be_written(model, folder, encoded):
    index = ImageIndex(model, folder, folder / "0.png" / "index")
    with pytest.raises(ValueError, match="cannot be written .*: give another path"):
        index.update()
    assert encoded == []


def test_an_index_that_is_whole_is_not_written(model, folder, monkeypatch):
    ImageIndex(model, folder).update()
    monkeypatch.setattr("vlp_jax.inference.index.check_writable", lambda path: 1 / 0)
    assert len(ImageIndex(model, folder).search("a dog")) == 5


@pytest.mark.slow
def test_models_without_vectors(loaded, folder):
    with pytest.raises(ValueError, match='encode_image needs the head "itc"'):
        ImageIndex(loaded("uniter_retrieval"), folder)
