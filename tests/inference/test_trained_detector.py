"""The detector of a run finds regions of any picture, in a store and from there in a source."""

import re
import shlex

import numpy as np
import pytest

import vlp_jax
from tests.training.tiny import ROOT, save_untrained, tiny
from vlp_jax.cli.main import main
from vlp_jax.config import load_config
from vlp_jax.data.regions.checks import check_regions
from vlp_jax.data.sources import EmojiScenes, FoundRegions

CONFIG = str(ROOT / "configs/detection/scenes.py:smoke")
SMALL = [
    "--config.model.vision_args.widths=(8, 8)",
    "--config.model.heads.detection.width=12",
    "--config.model.heads.detection.hidden=8",
    "--config.model.heads.detection.kept=8",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "run"
    save_untrained(path, load_config(CONFIG, SMALL))
    return path


@pytest.fixture(scope="module")
def detector(run):
    return vlp_jax.load_detector(run, batch=3)


def test_pictures_of_all_sizes_have_regions_whatever_stands_beside_them(detector):
    rng = np.random.default_rng()
    pictures = [rng.integers(0, 255, (h, w, 3), np.uint8) for h, w in ((64, 64), (30, 200), (9, 5))]
    together = detector(pictures)
    assert detector.frames == ((64, 64),) and detector.feature_width == 12
    for picture, found in zip(pictures, together):
        check_regions(found, 12)
        assert (found.height, found.width) == picture.shape[:2] and len(found) >= 1
        assert [detector.classes[label] for label in found.labels] == list(found.names)
        (alone,) = detector(picture)
        np.testing.assert_allclose(alone.features, found.features, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(alone.boxes, found.boxes, rtol=1e-4, atol=1e-4)


def test_a_run_says_all_of_its_detector(run):
    with pytest.raises(ValueError, match="is a run, which says all of its detector: give no sizes"):
        vlp_jax.load_detector(run, sizes={"DEPTH": 50})
    with pytest.raises(ValueError, match="needs the file with its weights"):
        vlp_jax.load_detector("frcnn_vg")


@pytest.mark.slow
def test_a_run_without_the_task_is_refused(tmp_path):
    save_untrained(tmp_path / "run", tiny("light"))
    with pytest.raises(ValueError, match='has no head "detection": it finds no objects'):
        vlp_jax.load_detector(tmp_path / "run")


@pytest.mark.slow
def test_pictures_of_a_source_become_a_store_that_a_source_reads(run, tmp_path, capsys):
    file, size = tmp_path / "found.tsv", "--config.data.source_args.emoji_scenes.size=5"
    command = ["data", "regions", "--config", CONFIG, "--splits", "train,test", size]
    drawn = ["--draw", str(tmp_path / "drawn")]
    assert main([*command, "--detector", str(run), "--out", str(file), *drawn]) == 0
    assert sorted(x.name for x in (tmp_path / "drawn").iterdir()) == sorted(
        f"{split}-{i}.png" for split in ("train", "test") for i in range(5)
    )
    assert "10 pictures written" in capsys.readouterr().out
    options = dict(size=5, concepts=12)
    records = dict(kind="emoji_scenes") | options
    source = FoundRegions("test", records=records, features=str(file))
    assert len(source) == 5
    (found,) = vlp_jax.load_detector(run)(EmojiScenes("test", **options)[4]["image"])
    np.testing.assert_allclose(source[4]["boxes"], found.boxes, atol=1e-4)
    assert source[4]["labels"] == list(found.names)


@pytest.mark.slow
def test_the_commands_of_the_page_lead_from_pixels_to_a_model_of_regions(
    run, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "runs/scenes").mkdir(parents=True)
    (tmp_path / "runs/scenes/detector").symlink_to(run)
    page = (ROOT / "docs/detectors.md").read_text()
    (block,) = re.findall(r"```shell\n(.*?)```", page, re.DOTALL)
    train, find, use = (shlex.split(line)[1:] for line in block.splitlines())
    assert load_config(train[2]).tasks.keys() == {"detection"}
    size = "--config.data.source_args.emoji_scenes.size=40"
    assert main([*find, size]) == 0
    few = [
        "training.steps=2",
        "data.source_args.found_regions.records.size=40",
        "data.batch_size=8",
    ]
    assert main([*use, *(f"--config.{setting}" for setting in few)]) == 0
    assert (tmp_path / "runs/scenes/lxmert_found/checkpoints").is_dir()
