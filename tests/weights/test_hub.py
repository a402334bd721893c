"""Models of Hugging Face's hub, from a stand-in on this machine: fetched, kept, and refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import vlp_jax
from tests.inference.published import sizes_of, write_weights
from tests.training.tiny import differing
from tests.weights.fake_hub import fake_hub
from vlp_jax.cli.main import main
from vlp_jax.inference.exported import write_export
from vlp_jax.weights.hub import fetched
from vlp_jax.weights.safetensors_file import write_safetensors

WEIGHTS = {"a": np.ones(2, np.float32)}
CODE = "raise SystemExit('this must never run')"


@pytest.fixture
def repositories(tmp_path) -> Path:
    """The folder whose models the hub has; one there holds code beside its weights."""
    folder = tmp_path / "hub" / "org" / "plain"
    folder.mkdir(parents=True)
    write_safetensors(folder / "model.safetensors", WEIGHTS)
    for name in ("modeling.py", "setup.py", "README.md", "pytorch_model.bin", "training.pkl"):
        (folder / name).write_text(CODE)
    (folder / "config.json").write_text("{}")
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na")
    return tmp_path / "hub"


@pytest.fixture
def sent(repositories, tmp_path, monkeypatch):
    """What the hub has sent; the client knows no other hub and has an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with fake_hub(repositories) as (address, sent):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield sent


def test_what_is_no_address_stays_as_it_is():
    for path in ("runs/quickstart", Path("hf"), None, "hf/org/name"):
        assert fetched(path) is path


def test_weights_config_and_tokenizer_are_fetched_once_and_nothing_else(sent, monkeypatch):
    folder = fetched("hf:org/plain")
    files = {"model.safetensors", "config.json", "vocab.txt"}
    assert {path.name for path in folder.iterdir()} == files == set(sent)
    assert fetched("hf:org/plain@main") == folder and len(sent) == len(files)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetched("hf:org/plain") == folder


def test_pickled_weights_are_fetched_where_there_are_no_others(sent, repositories):
    (repositories / "org/plain/model.safetensors").unlink()
    assert {path.name for path in fetched("hf:org/plain").iterdir()} == {
        "pytorch_model.bin", "config.json", "vocab.txt"
    }  # fmt: skip


def test_a_file_by_its_name(sent):
    assert fetched("hf:org/plain/vocab.txt").read_text().endswith("a") and sent == ["vocab.txt"]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf:org", '"hf:org" is no model on the hub: expected hf:ORG/NAME, hf:ORG/NAME@REV'),
        ("hf:org/plain/setup.py", "is no model on the hub: .* that ends in .safetensors"),
        ("hf:org/a--b", '"hf:org/a--b" cannot be fetched: HFValidationError: '),
        ("hf:org/plan", '"hf:org/plan" cannot be fetched: the hub has no such model, or it is pri'),
        ("hf:org/plain@old", "cannot be fetched: it has no such revision"),
        ("hf:org/plain/other.pt", "cannot be fetched: it has no such file"),
        ("hf:gated/model", "cannot be fetched: its owners ask to accept their terms on its page"),
    ],
)
def test_what_is_not_there_is_one_line(sent, address, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        fetched(address)
    assert "\n" not in str(caught.value) and not sent


def test_no_connection_and_no_client(sent, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(FileNotFoundError, match="the hub cannot be reached, and not all of it is"):
        fetched("hf:org/plain")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert main(["predict", "--model", "hf:org/plain", "--image", "a.png", "--text", "a"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'needs the package "huggingface_hub": pip install "vlp_jax[hf]"' in line


@pytest.mark.slow
def test_a_model_is_loaded_and_converted(sent, repositories, tmp_path):
    """An export that a colleague has put there, and the file of a published model."""
    name, target = "albef_retrieval", tmp_path / "converted.safetensors"
    file, sizes = write_weights(tmp_path, name), sizes_of(name)
    known = vlp_jax.load(name, file, sizes=sizes)
    write_export(known, repositories / "org/export")
    file.rename(repositories / "org/plain/published.safetensors")
    weights, words = (f"hf:org/plain/{x}" for x in ("published.safetensors", "vocab.txt"))
    again = vlp_jax.load(name, weights, sizes=sizes, tokenizer=words)
    assert again.tokenizer.size == 6
    for model in (vlp_jax.load("hf:org/export"), again):
        assert not differing(model.params, known.params)
    (tmp_path / "sizes.json").write_text(json.dumps(sizes))
    given = ["--model", name, "--weights", weights, "--sizes", str(tmp_path / "sizes.json")]
    assert main(["convert", *given, "--to", str(target)]) == 0 and target.is_file()
