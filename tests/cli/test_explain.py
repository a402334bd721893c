"""Tests of `vlp-jax explain`: the page, the picture, and what is refused before work is done."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

import vlp_jax.inference
from tests.inference.published import random_regions, sizes_of, write_weights
from tests.report.test_page import without_pictures
from vlp_jax.cli.main import main


def explain(run, *arguments) -> int:
    return main(["explain", "--model", str(run), *map(str, arguments)])


def test_page_replaces_the_old_one_and_escapes_the_text(run, pictures, tmp_path, capsys):
    out = tmp_path / "page.html"
    out.write_text("old")
    text = "a <b> & b"
    assert explain(run, "--image", pictures[0], "--text", text, "--out", out) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["text"], line["method"], line["out"]) == (text, "gradcam", str(out))
    assert 0 < line["match_probability"] < 1
    page = without_pictures(out.read_text())
    assert page.startswith("<!doctype html>") and page.endswith("</html>\n")
    assert "<b>" not in page and "http" not in page and page.count("<img") == 5
    assert "a &lt;b&gt; &amp; b</h1>" in page
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.png", "1.png", "2.png", "page.html"]


def commands() -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()
    return re.findall(r"^vlp-jax (explain .*)$", page, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("line", commands(), ids=lambda line: line.split()[-1])
def test_commands_of_the_page_run(line, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    regions = random_regions(names=False)
    np.savez("photo.npz", features=regions.features, boxes=regions.boxes, image_w=200,
             image_h=100)  # fmt: skip
    cv2.imwrite("photo.png", np.full((100, 200, 3), 99, np.uint8))
    load = vlp_jax.inference.load

    def tiny(name, weights, **_):
        if weights is None:
            return load(run)
        return load(name, write_weights(tmp_path, name), sizes=sizes_of(name))

    monkeypatch.setattr(vlp_jax.inference, "load", tiny)
    assert main(shlex.split(line)) == 0
    out = Path(json.loads(capsys.readouterr().out)["out"])
    if out.suffix == ".png":
        assert cv2.imread(str(out)).std() > 10  # something is drawn
    else:
        assert out.read_text().count("<figure") > 3


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"--out": "a.jpg"}, '--out is "a.jpg"; expected a name that ends in .html or .png'),
        ({"--out": "folder.png"}, '--out is "folder.png", which is a folder'),
        ({"--text": " "}, "--text is empty"),
        ({"--image": "gone.png"}, '"gone.png" does not exist'),
        ({"--image": "broken.png"}, "is corrupt, cut short or not a picture"),
        ({"--image": None}, "give a picture: --image, or --regions"),
        ({"--regions": "gone.npz"}, "gone.npz"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "".join(value),
)
def test_what_is_refused_before_a_model_is_loaded(
    pictures, tmp_path, monkeypatch, capsys, changes, message
):
    monkeypatch.chdir(tmp_path)
    Path("folder.png").mkdir()
    Path("broken.png").write_bytes(b"no picture")
    given = {"--image": pictures[0], "--text": "a dog", "--out": "a.png"} | changes
    arguments = [x for pair in given.items() if pair[1] is not None for x in pair]
    assert explain("nowhere", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1 and "nowhere" not in error


def test_only_a_picture_needs_matplotlib(run, pictures, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    without = lambda name, *given: None if name == "matplotlib" else find(name, *given)
    monkeypatch.setattr(importlib.util, "find_spec", without)
    shown = "--image", pictures[0], "--text", "a dog", "--out"
    assert explain("nowhere", *shown, tmp_path / "a.png") == 1
    assert 'a .png needs matplotlib: pip install "vlp_jax[train]"' in capsys.readouterr().err
    assert explain(run, *shown, tmp_path / "a.html") == 0


def test_a_method_that_the_model_lacks(run, pictures, tmp_path, capsys):
    arguments = "--text", "a dog", "--method", "alignment", "--out", tmp_path / "a.html"
    assert explain(run, "--image", pictures[0], *arguments) == 1
    assert "this model supports gradcam, attention" in capsys.readouterr().err
    assert not (tmp_path / "a.html").exists()
