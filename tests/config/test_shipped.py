"""Tests of configs by name: which there are, what goes before them, and names that are none."""

from pathlib import Path

import pytest

from tests.config.test_files import ROOT, SHIPPED, mistake
from vlp_jax.cli.main import main
from vlp_jax.config import load_config
from vlp_jax.config.shipped import shipped_configs, summary


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_config_but_shared_code_has_a_name():
    named = {f"configs/{name}.py": file for name, file in shipped_configs().items()}
    assert sorted(named) == SHIPPED
    assert all(file == ROOT / path for path, file in named.items())


@pytest.mark.parametrize("name", ["quickstart", "albef/finetune_vqa"])
@pytest.mark.parametrize("argument", ["", ":smoke"])
def test_a_name_stands_for_its_file(elsewhere, name, argument):
    by_path = load_config(f"{ROOT}/configs/{name}.py{argument}", ["--config.seed=3"])
    assert load_config(f"{name}{argument}", ["--config.seed=3"]) == by_path


def test_a_file_goes_before_a_name_and_a_folder_does_not(elsewhere):
    (elsewhere / "quickstart").mkdir()
    assert load_config("quickstart").name == "quickstart"
    (elsewhere / "albef").mkdir()
    (elsewhere / "albef/pretrain").write_text("mine")
    assert "expected a .py file" in mistake("albef/pretrain")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("quikstart", "quickstart"),
        ("quickstart.py", "quickstart"),
        ("configs/quickstart.py:smoke", "quickstart"),
        ("albef/finetune_vqe", "albef/finetune_vqa"),
        ("configs/albfe/pretrain.py", "albef/pretrain"),
    ],
)
def test_an_unknown_name_says_the_nearest(elsewhere, given, meant):
    text = mistake(given, kind=FileNotFoundError)
    assert text == f'no config file "{given.partition(":")[0]}". Did you mean "{meant}"?'


def test_a_name_unlike_all_says_what_lists_them(elsewhere):
    text = mistake("zzzzzz", kind=FileNotFoundError)
    assert text.endswith("`vlp-jax models --configs` lists those that come with the package")


def test_the_list_of_names(capsys):
    assert main(["models", "--configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_configs())
    first = (ROOT / "configs/quickstart.py").read_text().splitlines()[0].strip('"')
    assert lines[list(shipped_configs()).index("quickstart")].endswith(f" {first}")
    assert all(summary(file) for file in shipped_configs().values())
