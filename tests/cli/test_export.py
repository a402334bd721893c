"""Tests of `vlp-jax export`."""

import json
import re
import shlex
from pathlib import Path

import pytest

import vlp_jax
from tests.inference.published import ANSWERS, sizes_of, write_weights
from vlp_jax.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs/export.md").read_text()
COMMANDS = re.findall(r"^vlp-jax (export .*)$", PAGE, re.MULTILINE)


@pytest.fixture
def here(run, tmp_path, monkeypatch) -> Path:
    """A current folder with what the page's commands name, at a tiny size."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/quickstart").symlink_to(run)
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    (tmp_path / "sizes.json").write_text(json.dumps(sizes_of("albef_vqa")))
    return tmp_path


def export(command: str) -> int:
    sizes = "" if "runs/" in command else " --sizes sizes.json"
    return main(shlex.split(command + sizes))


def test_a_run(here, capsys):
    assert export(COMMANDS[0]) == 0
    said = capsys.readouterr().out
    assert said.startswith("quickstart: 27,876 parameters; ") and "model.safetensors" in said
    assert vlp_jax.load(here / "quickstart").verbs == vlp_jax.load(here / "runs/quickstart").verbs
    assert export(COMMANDS[0]) == 1
    assert 'vlp-jax export: "quickstart" is not empty' in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_with_programs(here, capsys):
    pytest.importorskip("flatbuffers")
    assert export(COMMANDS[1]) == 0
    made = {path.name for path in (here / "programs").iterdir()}
    assert {"answer.stablehlo", "match.stablehlo", "programs.json", "model.safetensors"} <= made
    assert vlp_jax.load(here / "programs").answers == vlp_jax.load(here / "runs/quickstart").answers


@pytest.mark.slow
def test_a_published_model(here):
    write_weights(here, "albef_vqa").rename(here / "vqa.pth")
    assert export(COMMANDS[2]) == 0
    assert vlp_jax.load(here / "albef").answers == ANSWERS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--model gone --out new", '"gone" is neither a path nor a published model'),
        ("--model gone --out answers.json", 'answers.json" is a file: give a new folder'),
        ("--model gone --out new --verb match", "give --format stablehlo as well"),
        ("--model gone --out gs://bucket/x", "is an address"),
        ("--model albef_vqa --out new", "needs the file with its weights as well"),
    ],
)
def test_mistakes_are_told_in_one_line(here, capsys, arguments, message):
    assert main(shlex.split(f"export {arguments}")) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (here / "new").exists()
