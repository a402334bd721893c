"""The commands of docs/finetuning.md, as they stand there, on made files in the published forms."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

import vlp_jax
from tests.configs.published_files import COUNT, nlvr2
from tests.data.regions.pictures import msgpack_bytes, random_regions, uniter_fields, write_lmdb
from tests.training.tiny import ROOT, command, environment, save_untrained
from vlp_jax.config import load_config
from vlp_jax.data.regions import open_regions
from vlp_jax.data.tokenizer import SPECIAL_TOKENS
from vlp_jax.model import build_model
from vlp_jax.model.model import init_params
from vlp_jax.parallel import unbox
from vlp_jax.weights.safetensors_file import write_safetensors
from vlp_jax.weights.zoo import ZOO

PAGE = (ROOT / "docs/finetuning.md").read_text()

# A recipe cut down in size and steps: its files, its start and what is measured are as published.
CUT_DOWN = '''
from vlp_jax.config import import_beside

recipe = import_beside("{folder}/x.py", "{name}")


def get_config(argument=""):
    """Returns the experiment."""
    small, whole = recipe.get_config("smoke"), recipe.get_config()
    if argument:
        return small
    data = {{k: whole["data"][k] for k in ("source", "source_args", "vocabulary")}}
    evaluate = {{name: args["evaluate"] for name, args in whole["tasks"].items()}}
    return small | dict(
        data=small["data"] | data | dict(region_pixels=0),
        init_from=whole["init_from"],
        tasks={{n: args | dict(evaluate=evaluate[n]) for n, args in small["tasks"].items()}},
        evaluation=small["evaluation"] | whole["evaluation"],
        training=small["training"] | dict(steps=2, evaluate_every=2),
    )
'''
WIDTH = 8  # of region features
UNITER = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "img_dim": WIDTH,
}
WORDS = [*SPECIAL_TOKENS, "Dog", *"the dog cat red blue left right sofa tree".split()]


def commands() -> list[str]:
    """The commands of the page's bash blocks, each on one line.

    Those that go on from the quickstart's own run are smoke-run with all shipped configs. Captions
    by CIDEr and their constraints are the table's cells and tests/data/test_box_constraints.py.
    """
    page = re.sub("## From the quickstart\n.*?\n## Before", "", PAGE, flags=re.DOTALL)
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip().startswith("vlp-jax ")]


def write_recipe(folder: Path, path: str) -> None:
    """Writes configs/FAMILY/NAME.py, the recipe of that path cut down."""
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    text = CUT_DOWN.format(folder=(ROOT / path).parent, name=Path(path).name)
    (folder / path).write_text(text)


def write_nlvr2(folder: Path) -> None:
    """Writes what the first step of the page lists, and the pictures that ALBEF reads."""
    rng = np.random.default_rng(0)
    for split in ("train", "dev", "test1"):
        rows = [nlvr2(i) | {"identifier": f"{split}-{i}-0-0"} for i in range(COUNT)]
        (folder / "data/nlvr2").mkdir(parents=True, exist_ok=True)
        lines = "\n".join(map(json.dumps, rows))
        (folder / f"data/nlvr2/{split}.json").write_text(lines)
        names = [f"{split}-{i}-0-img{side}" for i in range(COUNT) for side in (0, 1)]
        store = folder / "data/uniter" / f"nlvr2_{split.removesuffix('1')}"
        store.mkdir(parents=True)
        values = {
            f"nlvr2_{name}.npz": msgpack_bytes(uniter_fields(random_regions(rng, width=WIDTH)))
            for name in names
        }
        keys = json.dumps(list(values)).encode()
        write_lmdb(store / "feat_th0.2_max100_min10", values | {"__keys__": keys})
        pictures = folder / "data/nlvr2/images" / split
        pictures.mkdir(parents=True)
        for name in names:
            cv2.imwrite(f"{pictures / name}.png", rng.integers(0, 255, (40, 40, 3), np.uint8))
    (folder / "features").mkdir()
    (folder / "features/nlvr2_dev").symlink_to(folder / "data/uniter/nlvr2_dev")


def write_start(folder: Path) -> None:
    """Writes UNITER's pre-trained file and its words, and a run of ALBEF's text assignment."""
    import jax

    words = folder / "weights/bert-base-cased"
    words.mkdir(parents=True)
    (words / "vocab.txt").write_text("\n".join(WORDS))
    uniter = ZOO["uniter"]
    config = uniter.config_of(UNITER | {"vocab_size": len(WORDS)})
    params = unbox(init_params(build_model(config), jax.random.key(0)))
    write_safetensors(folder / "weights/uniter-base.pt", uniter.save(params, config))
    assignment = str(ROOT / "configs/albef/pretrain_nlvr2.py:smoke")
    vocabulary = '--config.data.vocabulary="bert-base-uncased"'
    save_untrained(folder / "runs/assignment", load_config(assignment, [vocabulary]))


def run(line: str, folder: Path) -> str:
    """Runs a command of the page on one device and returns what it prints."""
    done = subprocess.run(
        command(*shlex.split(line, comments=True)[1:]),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, (line, done.stderr[-3000:])
    return done.stdout


@pytest.mark.slow
def test_the_journey_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    smoke, records, train, evaluate, assigned = commands()
    for name in ("uniter/finetune_nlvr2", "albef/finetune_nlvr2"):
        write_recipe(tmp_path, f"configs/{name}.py")
    write_nlvr2(tmp_path)
    write_start(tmp_path)
    run(smoke, tmp_path)
    assert "annotated" in run(records, tmp_path)
    run(train, tmp_path)
    measured = (tmp_path / "runs/nlvr2/metrics.jsonl").read_text()
    assert "evaluation/nlvr2_accuracy" in measured and "evaluation/nlvr2_consistency" in measured
    run(evaluate, tmp_path)
    handed_in = (tmp_path / "runs/nlvr2/nlvr2_predictions.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in handed_in] == [f"test1-{i}-0-0" for i in range(COUNT)]
    store = open_regions("uniter_lmdb", "data/uniter/nlvr2_dev")
    left, right = (store[f"nlvr2_dev-0-0-img{side}.npz"] for side in (0, 1))
    (use,) = re.findall(r"`(vlp_jax\.load\(\"runs/nlvr2\"\).*?)`", PAGE)
    judgement = eval(use, {"vlp_jax": vlp_jax, "left": left, "right": right})
    assert judgement.true == (judgement.scores[1] > judgement.scores[0])
    (tmp_path / "runs/nlvr2").rename(tmp_path / "runs/uniter")
    run(assigned, tmp_path)
    assert "evaluation/nlvr2_accuracy" in (tmp_path / "runs/nlvr2/metrics.jsonl").read_text()
