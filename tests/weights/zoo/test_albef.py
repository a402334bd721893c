"""ALBEF presets: sizes, tensor names and shapes as published, bit-equal round trips."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.weights.zoo.key_lists import read_keys
from vlp_jax.model import build_model
from vlp_jax.weights.conversion import count_parameters, published_shapes
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO, find
from vlp_jax.weights.zoo.albef import momentum_table
from vlp_jax.weights.zoo.base import abstract_shapes

GOLDENS = Path(__file__).parents[2] / "goldens"
KEY_LISTS = {
    "albef": "albef_pretrain",
    "albef_4m": "albef_pretrain",
    "albef_retrieval": "albef_retrieval",
    "albef_grounding": "albef_retrieval",
    "albef_vqa": "albef_vqa",
    "albef_nlvr2": "albef_nlvr",
    "albef_nlvr2_pretrain": "albef_nlvrpre",
    "albef_ve": "albef_ve",
}


def read_golden(name):
    """Returns the published model, our config and the checkpoint of a reference bundle."""
    sizes = json.loads((GOLDENS / name / "config.json").read_text())
    task = "pretrain" if sizes["task"] == "interp" else sizes["task"]
    published = find("albef", task)
    state = read_state_dict(next((GOLDENS / name).glob("checkpoint.*")))
    return published, published.from_published(sizes), state


@pytest.fixture(scope="module")
def shapes():
    made = {}

    def of(name):
        if name not in made:
            made[name] = abstract_shapes(build_model(ZOO[name].config))
        return made[name]

    return of


@pytest.mark.parametrize("name", KEY_LISTS)
def test_preset_has_exactly_the_published_tensors(name, shapes):
    published = read_keys(KEY_LISTS[name])
    table = ZOO[name].key_table(ZOO[name].config)
    written = published_shapes(shapes(name), table)
    if name == "albef_grounding":
        assert ZOO[name].config.vision_args["image_size"] == 384
    assert {k: published.get(k) for k in written} == written
    beside = [k for k in published if k not in written]
    assert all(table.carries(k) for k in beside)
    assert all("_m." in k or k.endswith(("queue", "queue_ptr", "position_ids")) for k in beside)


@pytest.mark.parametrize("name", KEY_LISTS)
def test_preset_has_the_published_number_of_parameters(name, shapes):
    repeated = ("decoder.weight", "decoder.bias")
    published = sum(
        int(np.prod(shape))
        for key, shape in read_keys(KEY_LISTS[name]).items()
        if "_m." not in key
        and not key.endswith(("queue", "queue_ptr", "position_ids", *repeated))
        and not _second_of_a_pair(name, key)
    )
    assert count_parameters(shapes(name)) == ZOO[name].parameters == published


def _second_of_a_pair(name, key):
    """NLVR2 files repeat the key and value projections that two neighbouring layers share."""
    if "nlvr2" not in name or "crossattention.self" not in key or "query" in key:
        return False
    return int(key.split(".")[3]) % 2 == 1


def test_preset_counts_what_the_paper_trains():
    assert ZOO["albef"].parameters == pytest.approx(209.9e6, rel=1e-3)


@pytest.mark.parametrize("name", ["albef-pretrain-a", "albef-nlvr2-a", "albef-vqa-a", "albef-ve-a"])
def test_round_trip_is_bit_equal(name):
    published, config, state = read_golden(name)
    written = published.save(published.load(state, config), config, like=state)
    assert list(written) == list(state)
    for key, array in state.items():
        assert written[key].dtype == array.dtype
        np.testing.assert_array_equal(written[key], array, err_msg=key)


def test_checkpoint_without_teacher_and_queues_loads():
    published, config, state = read_golden("albef-retrieval-a")
    released = {k: v for k, v in state.items() if "_m." not in k and "queue" not in k}
    full = published.load(state, config)
    jax.tree.map(np.testing.assert_array_equal, published.load(released, config), full)


def test_momentum_copies_fill_the_same_parameters_but_heads_that_have_none():
    table = find("albef", "pretrain").key_table(ZOO["albef"].config)
    without = {path.split("/")[0] for path in table.paths - momentum_table(table).paths}
    assert without == {"heads_itm", "heads_itc"}
    assert "heads_itc/temperature" not in momentum_table(table).paths


def test_positions_are_resized_to_the_resolution_of_the_model():
    published, config, state = read_golden("albef-interp-a")
    positions = published.load(state, config)["vision"]["positions"]
    assert state["visual_encoder.pos_embed"].shape[1] != positions.shape[1]
    expected = np.load(GOLDENS / "albef-interp-a" / "outputs.npz")["pos_embed"]
    np.testing.assert_allclose(positions, expected, atol=1e-5)


def test_a_checkpoint_of_another_task_is_refused_with_its_names():
    _, config, state = read_golden("albef-ve-a")
    retrieval = find("albef", "retrieval")
    heads = {"itc": {"width": 16}, "itm": {}}
    with pytest.raises(ValueError) as error:
        retrieval.load(state, dataclasses.replace(config, heads=heads))
    message = str(error.value)
    assert "itm_head.weight" in message and "cls_head.0.weight (32, 32)" in message


@pytest.mark.parametrize("family, task", [("albeef", "pretrain"), ("albef", "vqq")])
def test_unknown_models_and_tasks_name_the_nearest(family, task):
    with pytest.raises(ValueError, match='Did you mean "(albef|vqa)"'):
        find(family, task)
