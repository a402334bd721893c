"""Tests of the view in which the layers of a stack have names of their own."""

import jax
import numpy as np
import pytest

from vlp_jax.layers.layer_names import (
    is_stacked,
    layer_paths,
    split_layers,
    stack_layers,
    stacked_path,
)

STACKS = {
    "text/layers/norm/scale": np.arange(6.0).reshape(3, 2),
    "fusion/text_layers/a": np.arange(2.0),
    "vision/stage_0_block_1/layer_2/kernel": np.ones(3),
    "layers/a": np.ones(2),
    "text/norm/scale": np.ones(2),
}


def test_layers_are_slices_and_come_together_again():
    split = split_layers(STACKS)
    assert split.keys() == {
        "text/layer_0/norm/scale",
        "text/layer_1/norm/scale",
        "text/layer_2/norm/scale",
        "fusion/text_layer_0/a",
        "fusion/text_layer_1/a",
        "vision/stage_0_block_1/layer_2/kernel",
        "layers/a",
        "text/norm/scale",
    }
    np.testing.assert_array_equal(split["text/layer_1/norm/scale"], [2, 3])
    again = stack_layers(split)
    assert again.keys() == STACKS.keys()
    assert all(np.array_equal(again[name], STACKS[name]) for name in STACKS)


def test_shapes_are_split_as_arrays_are():
    split = split_layers({"text/layers/a": jax.ShapeDtypeStruct((2, 5), "bfloat16")})
    assert split == {f"text/layer_{i}/a": jax.ShapeDtypeStruct((5,), "bfloat16") for i in (0, 1)}


def test_names_and_indices():
    assert layer_paths("text/layers/a", (2, 4)) == ("text/layer_0/a", "text/layer_1/a")
    assert layer_paths("text/norm/a", (2, 4)) == ("text/norm/a",)
    assert stacked_path("fusion/run_1_layer_12/b/c") == ("fusion/run_1_layers/b/c", 12)
    assert stacked_path("vision/stage_0/layer_2/kernel") is None
    assert is_stacked("fusion/run_1_layers/b") and not is_stacked("fusion/players/b/layers")


def test_a_gap_is_named():
    layers = {f"text/layer_{i}/a": np.ones(1) for i in (0, 2)}
    with pytest.raises(ValueError, match="text/layer_1/a is missing, though there is text/layer_2"):
        stack_layers(layers)
