"""Tests of `vlp-jax retrieve`."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.training.tiny import ROOT
from vlp_jax.cli.main import main


@pytest.fixture
def folder(pictures) -> Path:
    """The folder of the three pictures."""
    return Path(pictures[0]).parent


@pytest.fixture
def retrieve(run, folder, capsys):
    """Runs the command on the folder and returns the JSON lines, and the lines for people."""

    def call(*arguments: str) -> tuple[list[dict], list[str]]:
        assert main(["retrieve", "--model", str(run), "--images", str(folder), *arguments]) == 0
        shown = capsys.readouterr()
        return [json.loads(line) for line in shown.out.splitlines()], shown.err.splitlines()

    return call


@pytest.mark.slow
def test_the_best_pictures_of_each_text(retrieve, pictures, folder):
    (folder / "text.png").write_text("not a picture")
    lines, told = retrieve("--query", "a dog", "--query", "a red apple", "--top", "2")
    assert [line["query"] for line in lines] == ["a dog"] * 2 + ["a red apple"] * 2
    assert {line["image"] for line in lines} <= set(pictures)
    assert lines[0]["score"] >= lines[1]["score"]
    assert any("0 known, 4 to encode, 0 gone" in line for line in told)
    assert any("left out, as they cannot be read: 1" in line for line in told)
    assert any("text.png" in line and "not a picture" in line for line in told)
    assert any(line.startswith("re-ranking 6 pairs, about ") for line in told)


@pytest.mark.slow
def test_the_second_time_nothing_is_encoded(retrieve, folder):
    first, _ = retrieve("--query", "a dog", "--index", str(folder / "kept"))
    second, told = retrieve("--query", "a dog", "--index", str(folder / "kept"), "--rerank", "0")
    assert {line["image"] for line in first} == {line["image"] for line in second}
    assert told == [f"{folder / 'kept'}: pictures: 3 known, 0 to encode, 0 gone"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--query", ""], "text 1 is ''; expected a string with words in it"),
        (["--top", "0"], "--top = 0: must be at least 1"),
        (["--rerank", "-1"], "--rerank = -1: must be at least 0"),
        (["--index", "0.png/index"], "the index 0.png/index cannot be written"),
        (["--index", "0.png"], "0.png is damaged or no index of pictures"),
        (["--images", "none"], "none holds no pictures"),
        (["--images", "gone"], "the folder of pictures gone does not exist"),
    ],
)
def test_mistakes_are_one_line_and_cost_nothing(run, folder, monkeypatch, capsys, change, message):
    monkeypatch.chdir(folder)
    Path("none").mkdir()
    given = ["retrieve", "--model", str(run), "--images", ".", "--query", "a dog", *change]
    assert main(given) == 1
    shown = capsys.readouterr()
    assert f"vlp-jax retrieve: {message}" in shown.err.splitlines()[-1] and not shown.out
    assert not list(folder.glob(".vlp_jax_index*"))


def test_the_command_of_the_page(run, folder, capsys):
    page = (ROOT / "docs/pipelines.md").read_text()
    (command,) = re.findall(r"^vlp-jax (retrieve .*)$", page, re.MULTILINE)
    places = {"runs/quickstart": str(run), "runs/quickstart/pictures": str(folder)}
    assert main([places.get(word, word) for word in shlex.split(command)]) == 0
    asked = [json.loads(line)["query"] for line in capsys.readouterr().out.splitlines()]
    assert asked == ["a red apple"] * 3 + ["a rocket"] * 3


@pytest.mark.slow
def test_another_model_is_told(retrieve, monkeypatch):
    retrieve("--query", "a dog")
    import vlp_jax.inference as inference

    real = inference.load
    monkeypatch.setattr(inference, "load", lambda *x, **y: real(*x, which="teacher", **y))
    _, told = retrieve("--query", "a dog")
    assert told[0].endswith("was made by another model, and is made anew")
    assert "0 known, 3 to encode" in told[1]
