"""Bad input is one clear line, in whatever way a model is asked; nothing is computed for it."""

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.bad_files import write_bomb, write_regions
from tests.inference.published import ANSWERS, random_regions, sizes_of, write_weights
from vlp_jax.cli.main import main
from vlp_jax.cli.web.album import Album
from vlp_jax.cli.web.tabs import answered, tabs_of
from vlp_jax.inference import ImageIndex, load
from vlp_jax.inference.pipelines import pipeline

LONGEST = 400  # characters of a line
BOXES = np.array([[0, 0, 8, 8]])


@pytest.fixture(scope="module")
def model(run):
    """The run's model, ready for use."""
    return load(run)


@pytest.fixture
def here(pictures, model, monkeypatch, tmp_path) -> Path:
    """The folder of all files, in which commands are given; they load nothing but the model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vlp_jax.inference.load", lambda *_, **__: model)
    for name in ("text.png", "text.npz", "text.txt"):
        Path(name).write_text("not a picture")
    Path("empty.png").touch()
    whole = Path("0.png").read_bytes()
    Path("cut.png").write_bytes(whole[: len(whole) // 2])
    write_bomb(Path("bomb.png"))
    for name in ("folder", "folder.png"):
        Path(name).mkdir()
    write_regions(Path("fits.npz"), 32, 32)
    write_regions(Path("other.npz"), 200, 100)
    return tmp_path


def command(*arguments: str) -> None:
    """Runs a command; its one line is raised."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        if main(list(arguments)):
            raise ValueError(said.getvalue().removesuffix("\n"))


def predict(*asked: str) -> Callable:
    return lambda model, picture, text: command(
        *("predict", "--model", "m", "--image", picture), *asked, text
    )


def tab(title: str) -> Callable:
    def ask(model, picture, text):
        (found,) = (x for x in tabs_of(model) if x.title == title)
        shown, line = answered(model, found, picture, text)
        if shown is None:
            raise ValueError(line)

    return ask


def piped(task: str, name: str = "text") -> Callable:
    return lambda model, picture, text: pipeline(task, model)(picture, **{name: text})


# Ways to ask of a picture and a text.
ASKING: dict[str, Callable] = {
    "match": lambda model, picture, text: model.match(picture, text),
    "answer": lambda model, picture, text: model.answer(picture, text),
    "retrieve": lambda model, picture, text: model.retrieve(text, [picture]),
    "texts of a picture": lambda model, picture, text: model.retrieve(Path(picture), [text]),
    "ground": lambda model, picture, text: model.ground(picture, text, regions=BOXES),
    "explain": lambda model, picture, text: model.explain(picture, text),
    "predict --text": predict("--text"),
    "predict --question": predict("--question"),
    "predict --query": predict("--query"),
    "predict --ground": predict("--regions", "fits.npz", "--ground"),
    "explain --image": lambda model, picture, text: command(
        *("explain", "--model", "m", "--image", picture, "--text", text, "--out", "a.html")
    ),
    "matching": piped("image-text-matching"),
    "questions": piped("visual-question-answering", "question"),
    "retrieval": piped("image-text-retrieval"),
    "Ask": tab("Ask"),
    "Match": tab("Match"),
    "Explain": tab("Explain"),
}
PICTURES = {
    "text.png": ("is corrupt, cut short or not a picture",),
    "cut.png": ("is corrupt, cut short or not a picture",),
    "empty.png": ("is empty",),
    "bomb.png": ("has 10000 x 10000 pixels, more than the 89,478,485 that are decoded",),
    "gone.png": ("does not exist", "No such file"),
    "folder.png": ("Is a directory",),
}
TEXTS = {"": ("''", "empty", "nothing is written"), "?!": ("expected a string with words in it",)}


def said(ask: Callable, *given) -> str:
    """What is said of bad input: one line, and no longer than can be read."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        ask(*given)
    line = str(caught.value)
    assert "\n" not in line and 10 < len(line) < LONGEST, line
    return line


@pytest.mark.parametrize("way", ASKING)
def test_pictures(here, model, way):
    for picture, messages in PICTURES.items():
        line = said(ASKING[way], model, picture, "a dog")
        assert any(x in line for x in messages) and picture in line


@pytest.mark.parametrize("way", ASKING)
def test_texts(here, model, way):
    for text, messages in TEXTS.items():
        line = said(ASKING[way], model, "0.png", text)
        assert any(x in line for x in messages), line


@pytest.mark.slow
@pytest.mark.parametrize("way", ["match", "answer", "retrieve", "texts of a picture", "ground"])
def test_ten_thousand_words_are_cut_where_training_cut_them(here, model, way):
    long, cut = (ASKING[way](model, "0.png", "dog " * count) for count in (10_000, 100))
    assert repr(long) == repr(cut)


def test_the_page_refuses_ten_thousand_words(here, model):
    for way in ("Ask", "Match", "Explain"):
        line = said(ASKING[way], model, "0.png", "dog " * 10_000)
        assert line.endswith("40,000 characters are given; the page takes at most 500")


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, folder: command("retrieve", "--model", "m", "--images", folder,
                                      "--query", "a dog"),
        lambda model, folder: command("demo", "--model", "m", "--images", folder),
        lambda model, folder: Album(folder),
        lambda model, folder: ImageIndex(model, folder),
    ],
    ids=["retrieve", "demo", "album", "index"],
)  # fmt: skip
def test_a_folder_without_pictures(here, model, ask):
    assert "folder holds no pictures: expected files that end in" in said(ask, model, "folder")
    assert "folder of pictures gone does not exist" in said(ask, model, "gone")


def test_a_folder_of_unreadable_pictures(here, model):
    for name in ("0.png", "1.png", "2.png"):
        Path(name).unlink()
    shutil.rmtree("folder.png")
    asked = ("retrieve", "--model", "m", "--images", ".", "--query", "a dog")
    said_in_all = io.StringIO()
    with contextlib.redirect_stderr(said_in_all):
        assert main(list(asked)) == 1
    *_, line = said_in_all.getvalue().splitlines()
    assert "no picture of . can be read; the first:" in line and len(line) < LONGEST


@pytest.fixture(scope="module")
def of_regions(tmp_path_factory):
    """The weights of a model that reads regions, and how they are loaded."""
    file = write_weights(tmp_path_factory.mktemp("weights"), "uniter_vqa")
    return lambda **given: load("uniter_vqa", file, sizes=sizes_of("uniter_vqa"), **given)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("gone.json", "list of answers gone.json does not exist"),
        ("text.png", 'has 1 answers, and the head "vqa" knows 4: it is of another model'),
        ("bad.json", "list of answers bad.json: "),
        ("numbers.json", "numbers.json is no list of answers, as texts in the order of the head"),
        ("empty.json", "empty.json is empty; expected the answers in the order of the head"),
        ("folder", "list of answers folder is a folder; expected a file"),
        (["yes"], 'has 1 answers, and the head "vqa" knows 4'),
    ],
)
def test_lists_of_answers(here, of_regions, answers, message):
    Path("bad.json").write_text("{")
    Path("numbers.json").write_text("[1, 2, 3, 4]")
    Path("empty.json").write_text("[]")
    assert message in said(lambda: of_regions(answers=answers))


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ("gone.npz", "region features gone.npz does not exist"),
        ("text.npz", "text.npz"),
        ("text.txt", "its ending is none of"),
        ("other.npz:gone", "other.npz holds the regions of one picture: give it without a key"),
        ("wide.npz", "are 13 wide and the model reads 12"),
    ],
)
def test_files_of_regions(here, of_regions, monkeypatch, regions, message):
    model = of_regions(answers=ANSWERS)
    monkeypatch.setattr("vlp_jax.inference.load", lambda *_, **__: model)
    write_regions(Path("wide.npz"), 200, 100, feature_width=13)
    asked = ("predict", "--model", "m", "--regions", regions, "--question", "what?")
    assert message in said(command, *asked)
    if ":" not in regions:
        ask = lambda: pipeline("visual-question-answering", model)(regions=regions, question="a?")
        assert message in said(ask)
        assert message in said(lambda: model.answer(regions=regions, questions="what?"))


def test_regions_of_another_picture(here, model, of_regions, monkeypatch):
    """To ground in, and to draw boxes on; features alone do not say of what picture they are."""
    ground = predict("--regions", "other.npz", "--ground")
    assert "regions[0] are of a picture of 200 x 100 pixels, and the picture has 32 x 32" in said(
        ground, model, "0.png", "a dog"
    )
    known = of_regions(answers=ANSWERS)
    shown = lambda: known.explain("0.png", "a dog", regions=random_regions())
    assert "has 32 x 32 pixels, and the regions are of one with 200 x 100" in said(shown)
    monkeypatch.setattr("vlp_jax.inference.load", lambda *_, **__: known)
    asked = ("explain", "--model", "m", "--image", "0.png", "--regions", "other.npz")
    line = said(command, *asked, "--text", "a dog", "--out", "a.html")
    assert "has 32 x 32 pixels, and the regions are of one with 200 x 100" in line
