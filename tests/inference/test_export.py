"""Tests of exported models: what is read back, what others read, and the programs of the verbs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

import vlp_jax
from tests.inference.program_cases import CASES, check_program
from tests.inference.published import ANSWERS, random_regions, sizes_of, write_weights
from tests.training.tiny import differing
from vlp_jax.config import ExperimentConfig, build, to_plain
from vlp_jax.data.input_rules import InputRules
from vlp_jax.data.tokenizer import Tokenizer as WordPieces
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference import Model
from vlp_jax.inference.exported import free_folder, write_export
from vlp_jax.inference.programs import programs_of
from vlp_jax.weights.zoo import ZOO

PAGE = (Path(__file__).parents[2] / "docs/export.md").read_text()
PICTURES = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8) for i in range(2)]


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    """An exported run."""
    path = tmp_path_factory.mktemp("exports") / "quickstart"
    write_export(model, path)
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Returns a function from a preset's name to its tiny model; each is made once."""
    weights, made = tmp_path_factory.mktemp("weights"), {}

    def get(name: str):
        if name not in made:
            answers = ANSWERS if "vqa" in name or "12in1" in name else ()
            file = write_weights(weights, name)
            made[name] = vlp_jax.load(name, file, sizes=sizes_of(name), answers=answers)
        return made[name]

    return get


@pytest.mark.slow
def test_a_run_read_back_is_the_same_model(model, folder):
    again = vlp_jax.load(folder)
    assert differing(again.params, model.params) == []
    assert (again.config, again.rules, again.answers) == (model.config, model.rules, model.answers)
    assert again.tokenizer.to_json() == model.tokenizer.to_json()
    chances = model.match(PICTURES, "a red apple")
    assert again.match(PICTURES, "a red apple").tobytes() == chances.tobytes()
    ask = lambda model: model.answer(PICTURES[0], "how many things are there?", top=5)
    assert ask(again) == ask(model)


@pytest.mark.slow
def test_a_published_model_read_back_is_the_same(published, tmp_path):
    model, regions = published("uniter_vqa"), random_regions(5)
    write_export(model, tmp_path / "uniter")
    again = vlp_jax.load(tmp_path / "uniter")
    assert differing(again.params, model.params) == []
    assert (again.config, again.rules, again.answers) == (model.config, model.rules, ANSWERS)
    ask = lambda model: model.answer(regions=regions, questions="What is it?", top=4)
    assert ask(again) == ask(model)


@pytest.mark.parametrize("name", ZOO)
def test_rules_of_every_published_model_survive_json(name):
    rules = ZOO[name].inputs
    assert build(InputRules, json.loads(json.dumps(to_plain(rules))), "input_rules") == rules


def test_others_read_the_folder(model, folder):
    tensors = load_file(folder / "model.safetensors")
    flat = flatten_dict(model.params, sep="/")
    assert tensors.keys() == flat.keys()
    assert all(tensors[name].tobytes() == np.asarray(x).tobytes() for name, x in flat.items())
    config = json.loads((folder / "config.json").read_text())
    assert config["experiment"]["model"]["vision"] == "vit"
    assert config["input_rules"]["texts"]["answer"]["length"] == 8
    assert json.loads((folder / "answers.json").read_text()) == list(model.answers)
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert pieces[model.tokenizer.cls_id] == "[CLS]" and len(pieces) == model.tokenizer.size
    read = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = read.encode("a red apple", add_special_tokens=False).ids
    assert ids == model.tokenizer.piece_ids("a red apple")


def test_the_readme_names_every_file_and_verb(model, folder):
    text = (folder / "README.md").read_text()
    assert all(f"`{p.name}`" in text for p in folder.iterdir() if p.name != "README.md")
    assert "Verbs: answer, encode_image, encode_text, ground, match, retrieve." in text
    assert "32 × 32" in text and "27,876 parameters" in text
    assert all(name.split("/")[0].split("_")[0] in text for name in model.params)


@pytest.mark.parametrize(
    "name", ["albef_retrieval", "oscar_caption", "uniter_re", "vilbert_12in1", "visualbert_flickr"]
)
def test_verbs_that_a_model_names_are_those_that_it_has(name):
    expected = {
        "albef_retrieval": "encode_image encode_text ground match retrieve",
        "oscar_caption": "caption",
        "uniter_re": "ground",
        "visualbert_flickr": "ground match retrieve",
        "vilbert_12in1": "answer choose entail ground match reason retrieve",
    }  # fmt: skip
    published = ZOO[name]
    config = ExperimentConfig(model=published.config)
    model = Model(config, None, Vocabulary(WordPieces.bert_uncased()), published.inputs)
    assert " ".join(model.verbs) == expected[name]


@pytest.mark.parametrize("given", [{"answers": ["yes"]}, {"which": "teacher"}, {"step": 3}])
def test_an_export_needs_nothing_else(folder, given):
    with pytest.raises(ValueError, match=f"is an export, .*: give no {next(iter(given))}"):
        vlp_jax.load(folder, **given)


def test_only_a_new_or_empty_folder_is_written(model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    with pytest.raises(ValueError, match='full" is not empty: give a new folder'):
        write_export(model, tmp_path / "full")
    with pytest.raises(ValueError, match='mine.txt" is a file: give a new folder'):
        free_folder(tmp_path / "full/mine.txt")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    write_export(model, tmp_path / "empty")
    assert (tmp_path / "empty/model.safetensors").is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "full"]


def test_a_write_that_fails_leaves_nothing(model, tmp_path):
    with pytest.raises(TypeError):
        write_export(model, tmp_path / "new", {"programs.json": {"no JSON": object()}})
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_or_of_another_shape_is_named(model, tmp_path):
    write_export(model, tmp_path / "damaged")
    weights = tmp_path / "damaged/model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "itm" in name)
    for changed, message in (
        ({n: x for n, x in tensors.items() if n != name}, "the file lacks"),
        (tensors | {"text/more": tensors[name]}, "does not know"),
        (tensors | {name: tensors[name][..., None]}, "of another shape"),
    ):
        save_file({n: np.ascontiguousarray(x) for n, x in changed.items()}, weights)
        with pytest.raises(ValueError, match=message):
            vlp_jax.load(tmp_path / "damaged")
    config = tmp_path / "damaged/config.json"
    config.write_text('{"model_type": "vlp_jax", "experiment": {}}')
    with pytest.raises(ValueError, match='config.json has no entry "input_rules"'):
        vlp_jax.load(tmp_path / "damaged")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(verbs=["mach"]), '"mach" is no program of this model. Did you mean "match"'),
        (dict(verbs=["retrieve"]), '"retrieve" is no program .* There is: answer, encode_image'),
        (dict(platforms=["cudda"]), '"cudda" is no platform. Did you mean "cuda"'),
        (dict(text_length=0), "the length of texts is 0; expected 1 token or more"),
    ],
)
def test_programs_that_cannot_be(model, options, message):
    pytest.importorskip("flatbuffers")
    with pytest.raises(ValueError, match=message):
        programs_of(model, **options)


def test_without_the_library_of_programs(model, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "vlp_jax\[export\]"'):
        programs_of(model)


@pytest.mark.slow
def test_the_page_reads_a_program_without_this_package(model, tmp_path):
    pytest.importorskip("flatbuffers")
    write_export(model, tmp_path / "programs", programs_of(model, ["match"]))
    for name, pixels in zip("ab", PICTURES):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    code += """
import sys
assert "vlp_jax" not in sys.modules
one, two = match(["a.png"], ["a dog"]), match(["a.png", "b.png"], ["a dog", "a red apple"])
print(json.dumps([one.tolist(), two.tolist()]))
"""
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    run = dict(cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=300)
    done = subprocess.run([sys.executable, "-c", code], **run)
    assert done.returncode == 0, done.stderr
    one, two = json.loads(done.stdout.splitlines()[-1])
    np.testing.assert_allclose(one, model.match(PICTURES[0], "a dog"), atol=1e-5)
    expected = model.match(PICTURES, ["a dog", "a red apple"])
    np.testing.assert_allclose(two, expected, atol=1e-5)


def test_programs_say_what_they_take_and_give(model):
    pytest.importorskip("flatbuffers")
    files = programs_of(model, ["encode_text"], ["cpu", "cuda"], text_length=3)
    about = files["programs.json"]
    assert about["platforms"] == ["cpu", "cuda"] and list(about["verbs"]) == ["encode_text"]
    program = jax.export.deserialize(bytearray(files["encode_text.stablehlo"]))
    assert program.platforms == ("cpu", "cuda")
    verb = about["verbs"]["encode_text"]
    assert verb["inputs"]["text_ids"]["shape"] == ["batch", 12]  # all that the model reads
    assert verb["outputs"]["vector"]["shape"] == ["batch", 8]
    assert verb["text"]["style"] == "albef" and verb["text"]["add_sep"] is False
    assert all(field["meaning"] for kind in ("inputs", "outputs") for field in verb[kind].values())


@pytest.mark.drawn(4)
@pytest.mark.slow
@pytest.mark.parametrize(("name", "verb"), CASES)
def test_a_program_computes_what_the_verb_does(published, name, verb):
    pytest.importorskip("flatbuffers")
    model = published(name)
    assert verb in model.verbs
    check_program(model, verb)
