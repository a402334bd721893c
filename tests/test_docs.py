"""Tests that the code of the documentation does what it says, as it stands there."""

import json
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.tiny import ROOT, command, environment
from vlp_jax.cli.main import build_parser
from vlp_jax.config import load_config

DOCS = ROOT / "docs"
TINY = ROOT / "tests/training/tiny_config.py"


def blocks(page: str) -> list[str]:
    """Returns the Python blocks of a page."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def files_of(page: str) -> dict[str, str]:
    """Returns name → text of the blocks that begin with the name of a file."""
    named = (block.split("\n", 1) for block in blocks(page))
    return {first.removeprefix("# "): text for first, text in named if first.endswith(".py")}


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    for name, text in files_of("extending.md").items():
        (tmp_path / name).write_text(text)
    return tmp_path


def train(folder: Path, *overrides: str) -> dict:
    """Trains the tiny config two steps and returns the last figures."""
    arguments = command("train", "--config", TINY, "--workdir", folder / "run", *overrides)
    done = subprocess.run(
        [*arguments, "--config.training.steps=2"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (folder / "run/metrics.jsonl").read_text().splitlines()
    return {name: value for line in lines for name, value in json.loads(line).items()}


def test_the_first_batch_of_the_data_page():
    made: dict = {}
    exec(blocks("data.md")[0], made)
    assert made["batch"]["image"].shape == (128, 64, 64, 3)
    assert made["batch"]["mlm_ids"].shape == made["batch"]["mlm_labels"].shape
    assert (made["batch"]["mlm_labels"] >= 0).any()


@pytest.mark.slow
def test_the_figures_of_the_performance_page():
    made: dict = {}
    exec(files_of("performance.md")["step_figures.py"], made)
    looped = "--config.model.scan_layers=on"
    flops, kept = made["figures"](*made["base"], looped)
    cheap_flops, cheap_kept = made["figures"](
        *made["base"], looped, "--config.training.remat=cheap"
    )
    assert cheap_kept < 6 and kept < 8
    assert flops < cheap_flops < 1.1 * flops


@pytest.mark.slow
def test_a_task_of_a_plugin_trains_and_is_measured(plugins):
    figures = train(
        plugins,
        "--config.plugins=word_order.py",
        "--config.tasks.word_order={'evaluate': {'word_order': {'limit': 8}}}",
    )
    assert 0 <= figures["word_order_accuracy"] <= 1


@pytest.mark.slow
def test_parts_of_a_plugin_replace_those_of_a_config(plugins):
    figures = train(
        plugins,
        "--config.plugins=parts.py",
        "--config.model.vision=patches",
        "--config.model.vision_args.image_size=32",
        "--config.model.text=words",
        "--config.model.text_args.width=16",
        "--config.model.fusion=sum",
        "--config.tasks.itc=none",
    )
    assert np.isfinite(figures["loss"])


@pytest.mark.slow
def test_a_writer_of_a_plugin_gets_the_metrics(plugins):
    train(
        plugins,
        "--config.plugins=spreadsheet.py",
        "--config.training.writers=spreadsheet",
    )
    lines = (plugins / "run/tiny.csv").read_text().splitlines()
    assert any(line.startswith("2,loss,") for line in lines)


@pytest.mark.slow
def test_a_source_of_a_plugin_is_read(plugins):
    pictures = plugins / "pictures"
    pictures.mkdir()
    for i in range(16):
        cv2.imwrite(str(pictures / f"{i}.png"), np.full((40, 40, 3), i * 10, np.uint8))
        (pictures / f"{i}.txt").write_text(f"a grey square of brightness {i}")
    figures = train(
        plugins,
        "--config.plugins=folder.py",
        "--config.data.source=folder",
        "--config.data.path=pictures",
        "--config.tasks.vqa=none",
    )
    assert np.isfinite(figures["loss"])


def test_the_commands_of_the_page_on_pods_are_valid():
    page = (DOCS / "running-on-a-pod.md").read_text()
    lines = [line for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
             for line in block.splitlines() if line.startswith("vlp-jax ")]  # fmt: skip
    assert len(lines) == 4
    for line in lines:
        verb, *arguments = line.split()[1:]
        args, overrides = build_parser(verb).parse_known_args([verb, *arguments])
        assert load_config(args.config, overrides).name.startswith("albef")
