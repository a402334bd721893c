"""Tests of the layout of runs from before layers were stacked."""

import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from tests.model.tiny import TEXT, VISION, fusion_args, random_like
from vlp_jax.config import ModelConfig
from vlp_jax.fusion import FUSIONS
from vlp_jax.model import build_model
from vlp_jax.weights.conversion import layers_apart
from vlp_jax.weights.old_layout import stacked_layout
from vlp_jax.weights.zoo.base import abstract_shapes

# Where a fusion's layers were, by where they are: pairs of parts of a path.
THEN = {
    "two_image_cross_attention": [
        ("layer_0/first/", "layer_0/"),
        ("layer_0/second/", "layer_1/"),
        ("layer_1/first/", "layer_2/"),
        ("layer_1/second/", "layer_3/"),
        *((f"layer_{i}/{part}/", f"pair_{i}_{part}/") for i in (0, 1) for part in ("key", "value")),
    ],
    "cross_modal": [
        (f"layer_{i}/{stream}_", f"{stream}_{i}_") for i in (0, 1) for stream in ("text", "image")
    ],
    "co_attention": [
        *((f"run_0_layer_0/{s}_connection/", f"connection_0_{s}/") for s in ("text", "image")),
        *((f"run_1_layer_0/{s}_connection/", f"connection_1_{s}/") for s in ("text", "image")),
        ("run_0_layer_0/text_layer_0/", "text_layer_0/"),
        ("run_1_layer_0/text_layer_0/", "text_layer_1/"),
        ("run_1_layer_0/image_layer_0/", "image_layer_0/"),
        ("run_1_layer_0/image_layer_1/", "image_layer_1/"),
    ],
}
COUNTS = dict(image_layers=(0, 2), text_layers=(1, 1))


def config_of(fusion):
    counts = COUNTS if fusion == "co_attention" else {}
    return ModelConfig(
        vision_args=VISION["vit"],
        text_args=TEXT["bert"] | {"layers": 2},
        fusion=fusion,
        fusion_args=fusion_args(fusion, layers=2, **counts),
    )


def as_then(path: str, fusion: str) -> str:
    for now, then in THEN.get(fusion, ()):
        if path.startswith(f"fusion/{now}"):
            return path.replace(f"fusion/{now}", f"fusion/{then}")
    return path


@pytest.mark.parametrize("fusion", FUSIONS)
def test_an_old_tree_becomes_todays(fusion):
    config = config_of(fusion)
    today = random_like(abstract_shapes(build_model(config)), np.random.default_rng())
    old = {as_then(path, fusion): x for path, x in layers_apart(today).items()}
    assert not any("layers/" in path or "run_" in path for path in old)
    again = flatten_dict(stacked_layout(unflatten_dict(old, sep="/"), config), sep="/")
    flat = flatten_dict(today, sep="/")
    assert again.keys() == flat.keys()
    assert all(np.array_equal(again[path], flat[path]) for path in flat)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_todays_tree_is_left_alone(fusion):
    config = config_of(fusion)
    today = random_like(abstract_shapes(build_model(config)), np.random.default_rng())
    flat, again = (flatten_dict(t, sep="/") for t in (today, stacked_layout(today, config)))
    assert again.keys() == flat.keys() and all(again[path] is flat[path] for path in flat)


def test_convolutions_are_no_layers():
    config = ModelConfig(vision="resnet", vision_args=VISION["resnet"])
    params = {"vision": {"stage_0_block_0": {"layer_0": {"kernel": np.ones(2)}}}}
    assert stacked_layout(params, config) == params
