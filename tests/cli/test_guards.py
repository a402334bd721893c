"""Mistakes on the command line end in one line, before anything is written."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import vlp_jax
from tests.training.tiny import CONFIG, command, environment
from vlp_jax.cli.main import main
from vlp_jax.config import ExperimentConfig, load_config, nearest
from vlp_jax.config.build import build
from vlp_jax.sweep.plan import make_plan
from vlp_jax.training.checkpoint import CheckpointStore
from vlp_jax.training.loop import train

ADDRESS = "hdfs://host/run"


def train_status(workdir, *more: str, config: str = f"{CONFIG}:light") -> int:
    return main(["train", "--config", config, "--workdir", str(workdir), *more])


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


VERBS = {
    "train": ["train", "--config", f"{CONFIG}:light", "--workdir", ADDRESS],
    "evaluate": ["evaluate", "--workdir", ADDRESS],
    "predict": ["predict", "--model", ADDRESS, "--image", "a.png", "--text", "a"],
    "convert": ["convert", "--model", "albef", "--weights", "a.pth", "--to", "s3://bucket/a"],
    "weights": ["convert", "--model", "albef", "--weights", ADDRESS, "--to", "a"],
}


@pytest.mark.parametrize("arguments", VERBS.values(), ids=VERBS)
def test_an_address_is_refused_before_anything_is_written(here, capsys, arguments):
    assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert " is an address; " in shown
    assert len(shown.splitlines()) == 1 and list(here.iterdir()) == []


def test_addresses_are_refused_in_python_too(here):
    config = load_config(f"{CONFIG}:light")
    entry = {"path": ADDRESS, "kind": "run"}
    started = load_config(f"{CONFIG}:light", [f"--config.init_from=[{entry}]"])
    calls = (
        lambda: train(config, ADDRESS),
        lambda: train(started, here / "run"),
        lambda: CheckpointStore(ADDRESS),
        lambda: vlp_jax.load(ADDRESS),
        lambda: make_plan([f"{CONFIG}:light"], [], [], [0], "gs://bucket/run"),
    )
    for call in calls:
        with pytest.raises(ValueError, match="is an address"):
            call()
    assert list(here.iterdir()) == []


CONFIGS = {
    "syntax": ("def get_config():\n    return {'a': \n", 'mine.py", line 2: SyntaxError: '),
    "import": ("import numpy\nimport nowhere\n", 'mine.py", line 2: ModuleNotFoundError: No modul'),
    "name": ("def get_config():\n    return wrong\n", "line 2: NameError: name "),
    "key": ("def get_config(argument=''):\n\n    return {}['a']\n", "line 3: KeyError: 'a'"),
    "latin-1": (b"name = 'caf\xe9'\ndef get_config(): return {}\n", 'mine.py"'),
    "null": (b"\0", 'mine.py"'),
    "value": ("def get_config():\n    raise ValueError('choose a or b')\n", "choose a or b"),
    "no function": ("x = 1\n", 'mine.py" has no function get_config'),
}


@pytest.mark.parametrize(("text", "message"), CONFIGS.values(), ids=CONFIGS)
def test_a_config_file_that_fails_is_named_with_its_line(here, capsys, text, message):
    (here / "mine.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert train_status("run", config="mine.py") == 1
    shown = capsys.readouterr().err
    assert message in shown and "Traceback" not in shown and not (here / "run").exists()


def test_arguments_that_are_no_utf_8(here, capsys):
    odd = os.fsdecode(b"caf\xe9")
    assert main(["train", "--config", odd, "--workdir", "run"]) == 1
    assert capsys.readouterr().err == "vlp-jax: the argument 'caf\\udce9' is not UTF-8\n"


def test_whole_floats_are_whole_numbers():
    config = load_config(f"{CONFIG}:light", ["--config.training.steps=1e3"])
    assert config.training.steps == 1000 and isinstance(config.training.steps, int)
    for value in (1.5, float("nan"), float("inf"), True):
        with pytest.raises(ValueError, match="config.training.steps = "):
            build(ExperimentConfig, {"training": {"steps": value}}, "config")


@pytest.mark.parametrize("none", ["None", "none", "null"])
def test_a_task_is_switched_off_from_the_command_line(none):
    config = load_config(str(CONFIG), [f"--config.tasks.itc={none}"])
    assert config.tasks["itc"] is None and config.tasks["itm"] is not None


@pytest.mark.parametrize("text", ["{", "[1]", "3", b"\xff"])
def test_sizes_that_are_no_group(here, capsys, text):
    (here / "sizes.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    weights = ["--weights", "a.pth", "--to", "b"]
    assert main(["convert", "--model", "albef", "--sizes", "sizes.json", *weights]) == 1
    assert "--sizes sizes.json: " in capsys.readouterr().err


def test_some_sizes_go_over_those_of_the_preset(here, capsys):
    (here / "sizes.json").write_text(json.dumps({"image_res": 384}))
    weights = ["--weights", "a.pth", "--to", "b"]
    assert main(["convert", "--model", "albef", "--sizes", "sizes.json", *weights]) == 1
    assert "a.pth does not exist" in capsys.readouterr().err


GOOD = {
    "trainig": "training", "vti": "vit", "batchsize": "batch_size", "widht": "width",
    "learning_rat": "learning_rate", "scenes": "emoji_scenes", "tets": "test", "Bert": "bert",
    "quikstart": "quickstart", "single_steam": "single_stream", "adamW": "adamw",
    "resnet50": "resnet", "QUICKSTART": "quickstart",
}  # fmt: skip
BAD = {
    "/nope": ("opt", "itm", "mlm"), "lion": ("adamw", "muon"), "sgd": ("adamw", "muon"),
    "x": ("vqa", "itm"), "gqa_run": ("itc", "vqa"), "decoder": ("bert", "encoder_only"),
    "foo": ("loss", "mood"), "": ("a", "b"), "cosine": ("constant", "linear"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "meant"), GOOD.items())
def test_near_names_are_hinted_at(given, meant):
    known = [*GOOD.values(), "image_size", "data", "model", "constant"]
    assert nearest(given, known) == f' Did you mean "{meant}"?'


@pytest.mark.parametrize(("given", "known"), BAD.items())
def test_far_names_are_not(given, known):
    assert nearest(given, known) == ""


@pytest.mark.slow
def test_the_statuses_are_in_the_help():
    found = subprocess.run(
        command("train", "--help"), capture_output=True, text=True, env=environment(), check=True
    )
    for status in (
        "0   done",
        "1   a mistake",
        "3   diverged",
        "5   another process of the run was lost",
        "75  stopped by SIGTERM",
    ):
        assert status in found.stdout
