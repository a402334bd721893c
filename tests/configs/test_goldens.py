"""Tests that no shipped experiment changes unseen: each equals the description kept of it.

After a change that is meant: UPDATE_GOLDENS=1 bash launch/test.sh tests/configs
"""

import os
from pathlib import Path

import pytest

from tests.configs.describe import describe
from tests.training.tiny import ROOT

CONFIGS = ROOT / "configs"
GOLDENS = Path(__file__).with_name("goldens")
UPDATE = "UPDATE_GOLDENS" in os.environ

# The variants of a config beside the one without an argument; "smoke" is a test of its own.
VARIANTS = {
    "albef/pretrain": ("4m",),
    "uniter/pretrain": ("indomain", "large"),
    "oscar/pretrain": ("plus",),
    "albef/finetune_retrieval": ("flickr",),
    "oscar/finetune_captioning": ("plus",),
    "oscar/finetune_captioning_by_cider": ("large", "plus", "plus_large"),
    "oscar/finetune_gqa": ("plus",),
    "oscar/finetune_nocaps": ("cider",),
    "oscar/finetune_retrieval": ("plus",),
    "oscar/finetune_vqa": ("plus",),
    "uniter/finetune_referring": ("plus", "g"),
    "uniter/finetune_retrieval": ("hard", "coco"),
    "vilbert/finetune_retrieval": ("coco",),
    "vilbert/finetune_vqa": ("beta",),
    "vilbert/finetune_referring": ("plus", "g"),
}


def shipped() -> dict[str, str]:
    """Returns golden name → spec of every experiment in configs/."""
    files = [f for f in CONFIGS.rglob("*.py") if "common" not in f.relative_to(CONFIGS).parts]
    names = sorted(f.relative_to(CONFIGS).with_suffix("").as_posix() for f in files)
    specs = {}
    for name in names:
        golden = name.replace("/", "_")
        # Those that start from a run read its words, and there is none: in small they need none.
        small = ":smoke" if name.startswith("quickstart_tasks/") else ""
        specs[golden] = f"{CONFIGS / name}.py{small}"
        for variant in VARIANTS.get(name, ()):
            specs[f"{golden}_{variant}"] = f"{CONFIGS / name}.py:{variant}"
    return specs


SHIPPED = shipped()

# Many and large: the parameters of one are made out in seconds.
CASES = [
    pytest.param(name, marks=pytest.mark.slow if "finetune" in name else ()) for name in SHIPPED
]


@pytest.mark.slow
@pytest.mark.parametrize("golden", CASES)
def test_an_experiment_is_what_it_was(golden):
    found = describe(SHIPPED[golden])
    path = GOLDENS / f"{golden}.txt"
    if UPDATE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
    assert path.exists(), f"no golden text of {golden}: {__doc__.splitlines()[-1]}"
    # Lists, for pytest to show the lines that differ.
    assert found.splitlines() == path.read_text().splitlines(), __doc__.splitlines()[-1]


def test_every_golden_text_has_its_experiment():
    assert {path.stem for path in GOLDENS.glob("*.txt")} == set(SHIPPED)
    for name, variants in VARIANTS.items():
        assert variants and (CONFIGS / f"{name}.py").exists()
