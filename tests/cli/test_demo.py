"""Tests of `vlp-jax demo`: what its tabs answer, without a page; then the page, over HTTP."""

import dataclasses
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

import vlp_jax
from tests.inference.published import sizes_of, write_weights
from vlp_jax.demo.album import Album
from vlp_jax.demo.tabs import answered, tabs_of

BOMB = "10000 x 10000 pixels, more than the 89,478,485 that are decoded"


@pytest.fixture(scope="module")
def model(run):
    """The run's model, ready for use."""
    return vlp_jax.load(run)


@pytest.fixture
def folder(pictures) -> Path:
    """The folder of the three pictures."""
    return Path(pictures[0]).parent


def published(folder: Path, name: str):
    """A tiny published model of random weights."""
    return vlp_jax.load(name, write_weights(folder, name), sizes=sizes_of(name))


def named(model, title: str, album: Album | None = None):
    """The tab with a title."""
    return next(tab for tab in tabs_of(model, album) if tab.title == title)


def write_bomb(path: Path, side: int = 10_000) -> Path:
    """Writes a PNG that says it has side x side pixels and holds none of them."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = {b"IHDR": header, b"IDAT": zlib.compress(bytes(64)), b"IEND": b""}
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts.items()
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


def titles(model, album=None) -> list[str]:
    return [tab.title for tab in tabs_of(model, album)]


def test_there_are_tabs_for_what_the_model_can_do(model, folder):
    assert titles(model) == ["Ask", "Match", "Explain"]
    assert titles(model, Album(folder)) == ["Search", "Ask", "Match", "Explain"]


def test_the_answers_are_those_of_the_model(model, pictures):
    shown, line = answered(model, named(model, "Ask"), pictures[0], "how many?")
    best = model.answer(pictures[0], "how many?", top=5)
    assert list(shown) == [answer.text for answer in best]
    np.testing.assert_allclose(list(shown.values()), [answer.probability for answer in best])
    assert line == f"Of {len(model.answers)} answers it knows."
    shown, _ = answered(model, named(model, "Match"), pictures[0], "a dog")
    chance = model.match(pictures[0], "a dog")[0]
    np.testing.assert_allclose(list(shown.values()), [chance, 1 - chance], rtol=1e-5)


def test_each_word_has_a_map_beside_the_picture(model, pictures):
    shown, line = answered(model, named(model, "Explain"), pictures[0], "a dog face")
    assert [text for _, text in shown] == ["the picture", "a", "dog", "face"]
    assert {picture.size for picture, _ in shown} == {(288, 288)}
    assert "By gradcam" in line and "match with probability 0." in line


def test_a_search_follows_the_folder(model, folder, pictures):
    album = Album(folder, folder / "kept")
    (folder / "text.png").write_text("not a picture")
    shown, line = answered(model, named(model, "Search", album), "a dog")
    assert {text.partition(" · ")[0] for _, text in shown} == {"0.png", "1.png", "2.png"}
    assert line.startswith("The best of 3 pictures; 1 cannot be read. The number is the prob")
    known = album.index(model)
    assert album.index(model) is known
    Path(pictures[0]).rename(folder / "moved.png")
    shown, _ = answered(model, named(model, "Search", album), "a dog")
    assert {text.partition(" · ")[0] for _, text in shown} == {"moved.png", "1.png", "2.png"}
    for picture in folder.glob("*.png"):
        picture.unlink()
    shown, line = answered(model, named(model, "Search", album), "a dog")
    assert shown is None and "holds no pictures: expected files that end in .png" in line


@pytest.mark.parametrize(
    ("picture", "text", "message"),
    [
        (None, "a dog", "Picture: none is given. Choose one first"),
        ("0.png", "", "Text: nothing is written. Write one first"),
        ("0.png", " \n", "Text: nothing is written. Write one first"),
        ("0.png", None, "Text: nothing is written. Write one first"),
        ("0.png", "word " * 10_000, "Text: 50,000 characters are given; the page takes at most"),
        ("0.png", "?!", "expected a string with words in it"),
        ("notes.png", "a dog", '"notes.png" is corrupt, cut short or not a picture'),
        ("empty.png", "a dog", '"empty.png" is empty'),
        ("bomb.png", "a dog", f'"bomb.png" has {BOMB}'),
    ],
)
def test_bad_input_is_one_line(model, folder, picture, text, message):
    (folder / "notes.png").write_text("not a picture")
    (folder / "empty.png").touch()
    write_bomb(folder / "bomb.png")
    shown, line = answered(model, named(model, "Match"), picture and str(folder / picture), text)
    assert shown is None and message in line
    assert "\n" not in line and len(line) < 200 and str(folder) not in line


def test_a_model_of_sentences_and_of_two_pictures(tmp_path, pictures):
    entailing, judging = (published(tmp_path, f"albef_{task}") for task in ("ve", "nlvr2"))
    assert titles(entailing) == ["Entail"] and titles(judging) == ["Compare"]
    shown, _ = answered(entailing, *tabs_of(entailing), pictures[0], "a dog is asleep")
    assert shown == entailing.entail(pictures[0], "a dog is asleep").probabilities
    shown, _ = answered(judging, *tabs_of(judging), *pictures[:2], "both show a dog")
    found = judging.reason(tuple(pictures[:2]), "both show a dog")
    assert shown[str(found.true)] == found.probability and sum(shown.values()) == 1
    shown, line = answered(judging, *tabs_of(judging), pictures[0], None, "both show a dog")
    assert shown is None and line == "Right picture: none is given. Choose one first"


def test_captions(run, pictures):
    model = vlp_jax.load(run)
    model.rules = dataclasses.replace(model.rules, tags=True)
    assert "Caption" in titles(model)
    print(answered(model, named(model, "Caption"), pictures[0]))


def test_models_that_no_tab_fits(tmp_path, model, folder):
    regions = published(tmp_path, "uniter_vqa")
    with pytest.raises(ValueError, match="models that read pixels; this one reads region features"):
        tabs_of(regions)
    with pytest.raises(ValueError, match='encode_image needs the head "itc"'):
        tabs_of(published(tmp_path, "albef_ve"), Album(folder))
    with pytest.raises(ValueError, match="nothing to ask this model; its heads: "):
        tabs_of(published(tmp_path, "albef_grounding"))
