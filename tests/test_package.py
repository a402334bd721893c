"""Tests of the package as a whole: what importing it costs, and the configs that come with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import vlp_jax
from tests.training.tiny import command, environment
from vlp_jax.config import ExperimentConfig, load_config

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.parent.name != "common")
HEAVY = ("torch", "tensorflow", "orbax", "jax", "flax", "grain", "cv2", "transformers")
MEASURE = "import time; t = time.perf_counter(); import vlp_jax; print(time.perf_counter() - t)"
RECALLS = {f"{way}_r{k}{how}" for way in ("i2t", "t2i") for k in (1, 5, 10) for how in ("", "_itm")}
ACCURACIES = ("near_miss", "scene_vqa", "easy_vqa", "mlm")
QUICKSTART_FIGURES = (
    RECALLS
    | {f"{name}_chance" for name in RECALLS}
    | {f"{name}_{kind}" for name in ACCURACIES for kind in ("accuracy", "chance", "blind")}
)
names = lambda path: str(path.relative_to(ROOT / "configs"))


def output_of(code: str) -> str:
    """Returns what a fresh Python process prints."""
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def modules_after(code: str) -> set[str]:
    """Returns the top-level packages that a fresh process has loaded after `code`."""
    shown = output_of(f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))")
    return {name.partition(".")[0] for name in json.loads(shown)}


def test_importing_takes_less_than_two_seconds():
    assert min(float(output_of(MEASURE)) for _ in range(3)) < 2.0


def test_importing_stays_light():
    assert modules_after("import vlp_jax") & set(HEAVY) == set()


def test_training_evaluating_and_using_a_model_need_neither_torch_nor_tensorflow():
    loaded = modules_after(
        "import vlp_jax.training.loop, vlp_jax.tasks, vlp_jax.report.run\n"
        "import vlp_jax.inference, vlp_jax.weights.conversion, vlp_jax.weights.zoo"
    )
    assert "jax" in loaded and not loaded & {"torch", "tensorflow", "transformers"}


def test_what_the_package_offers():
    assert set(vlp_jax.__all__) == {"__version__", "load", "load_detector", "pipeline"}
    assert all(hasattr(vlp_jax, name) for name in vlp_jax.__all__)


@pytest.mark.parametrize("path", CONFIGS, ids=names)
def test_every_shipped_config_loads(path):
    config = load_config(str(path))
    smoke = load_config(f"{path}:smoke")
    assert isinstance(config, ExperimentConfig) and isinstance(smoke, ExperimentConfig)
    assert smoke.training.steps < config.training.steps
    assert smoke.tasks.keys() == config.tasks.keys()
    with pytest.raises(ValueError, match="smok.*smoke"):
        load_config(f"{path}:smok")


# Recipes of fine-tuning are traced in tests/configs/test_finetuning.py: all would take too long.
RUNS = [path for path in CONFIGS if not path.name.startswith("finetune_")]


@pytest.mark.drawn(5)
@pytest.mark.slow
@pytest.mark.parametrize("path", RUNS, ids=names)
def test_every_shipped_config_runs_with_smoke(path, tmp_path):
    workdir = tmp_path / "run"
    ended = subprocess.run(
        command("train", "--config", f"{path}:smoke", "--workdir", workdir, "--report"),
        cwd=ROOT,
        env=environment(),  # one device: of eight each would do an eighth
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["steps"] == load_config(f"{path}:smoke").training.steps
    assert (workdir / "report.html").stat().st_size > 10_000
    assert summary["seconds"] > 0 and 0 <= summary["data_wait_share"] <= 1
    if path.name == "quickstart.py":
        missing = QUICKSTART_FIGURES - summary.keys()
        assert not missing
