"""The package as a wheel, in an environment of its own and without the repository."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from vlp_jax.cli.main import VERBS
from vlp_jax.config.shipped import shipped_configs

ROOT = Path(__file__).parents[1]
SOURCES = ("vlp_jax", "configs", "setup.py", "README.md", "LICENSE")
# One verb of the model, computed in a process that sees the wheel and no repository.
USE = """
import sys, numpy as np, vlp_jax
assert "site-packages" in vlp_jax.__file__, vlp_jax.__file__
picture = np.full((64, 64, 3), 90, np.uint8)
print(*(float(vlp_jax.load(path).match(picture, "a dog")[0]) for path in sys.argv[1:]))
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy, because a build leaves its folders beside setup.py."""
    pytest.importorskip("wheel")
    folder = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", "dist"], cwd=folder, check=True, timeout=300)
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """Returns a function that runs a command of an environment with the wheel in it."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder / "venv", symlinks=True)
    python, place = folder / "venv/bin/python", folder / "elsewhere"
    place.mkdir()
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel]
    subprocess.run(list(map(str, pip)), check=True, timeout=300)
    (packages,) = (folder / "venv/lib").glob("python*/site-packages")
    (packages / "running.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(command: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(python.with_name(command)), *arguments],
            cwd=place,
            env=kept | {"JAX_NUM_CPU_DEVICES": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_configs_and_data_are_in_the_wheel(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    shared = {f"vlp_jax/_configs/common/{p.name}" for p in (ROOT / "configs/common").glob("*.py")}
    kept = [p for p in (ROOT / "vlp_jax").rglob("*.*") if p.suffix in (".py", ".txt", ".html")]
    files = {p.relative_to(ROOT).as_posix() for p in kept}
    assert {f"vlp_jax/_configs/{name}.py" for name in shipped_configs()} | shared <= names
    assert files <= names and "vlp_jax/data/assets/bert-base-uncased-vocab.txt" in files
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_every_verb_has_its_help(installed, verb):
    shown = installed("vlp-jax", *[verb] * bool(verb), "--help")
    assert shown.startswith(f"usage: vlp-jax {verb}".rstrip())


def test_names_of_configs(installed):
    lines = installed("vlp-jax", "models", "--configs").splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_configs())


def test_a_run_by_name_is_trained_used_and_exported(installed):
    settings = ["training.steps=2", "training.checkpoint_every=2", "data.source=emoji_scenes"]
    overrides = [f"--config.{setting}" for setting in settings]
    installed("vlp-jax", "train", "--config", "quickstart:smoke", "--workdir", "run", *overrides)
    installed("vlp-jax", "export", "--model", "run", "--out", "exported")
    of_run, of_export = installed("python", "-c", USE, "run", "exported").split()
    assert of_run == of_export and 0 < float(of_run) < 1
    records = ["data", "records", "--config", "albef/finetune_nlvr2:smoke", "--split", "test"]
    assert "emoji_tasks, test: " in installed("vlp-jax", *records)
