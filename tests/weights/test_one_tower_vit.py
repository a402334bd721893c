"""ViT and DeiT files of three namings fill one encoder; sizes are fitted, surprises are errors."""

import jax
import numpy as np
import pytest
from flax.linen import meta
from flax.traverse_util import flatten_dict, unflatten_dict

from vlp_jax.encoders.vit import ViT
from vlp_jax.weights.conversion import to_params, to_published
from vlp_jax.weights.interpolation import resize_position_grid
from vlp_jax.weights.one_tower_vit import fit_vit, vit_args, vit_naming, vit_table

ARGS = dict(image_size=12, patch_size=4, width=6, layers=2, heads=3, mlp_width=5, distilled=False)
MARKS = {
    "timm": ["patch_embed.proj.weight"],
    "huggingface": [
        "vit.embeddings.patch_embeddings.projection.weight",
        "vit.encoder.layer.0.output.dense.bias",
    ],
    "transformers 5": [
        "embeddings.patch_embeddings.projection.weight",
        "layers.0.mlp.fc1.weight",
    ],
}


def shapes(**changes):
    encoder = ViT(**(ARGS | changes))
    batch = {"image": np.zeros((1, encoder.image_size, encoder.image_size, 3), np.float32)}
    init = lambda: encoder.init(jax.random.key(0), batch)["params"]
    return {"vision": meta.unbox(jax.eval_shape(init))}


def random_params(**changes):
    rng = np.random.default_rng()
    draw = lambda leaf: rng.normal(size=leaf.shape).astype(np.float32)
    return jax.tree.map(draw, shapes(**changes))


def file_of(params, names, **changes):
    return to_published(params, vit_table(names, ARGS | changes))


def read(state, **changes):
    args = ARGS | changes
    return to_params(fit_vit(state, args), vit_table(state, args), shapes(**changes))


@pytest.mark.parametrize("naming", MARKS)
@pytest.mark.parametrize("distilled", [False, True])
def test_every_naming_fills_every_parameter_and_goes_back(naming, distilled):
    params = random_params(distilled=distilled)
    state = file_of(params, MARKS[naming], distilled=distilled)
    assert set(MARKS[naming]) <= state.keys()
    jax.tree.map(np.testing.assert_array_equal, read(state, distilled=distilled), params)
    again = to_published(params, vit_table(state, ARGS | {"distilled": distilled}), like=state)
    assert all(np.array_equal(again[key], state[key]) for key in state)


def test_names_of_timm_and_shapes_are_those_of_deit_base():
    sizes = dict(image_size=224, patch_size=16, width=768, layers=12, heads=12, mlp_width=3072)
    table = vit_table(["patch_embed.proj.weight"], sizes)
    assert len(table.names) == 150
    assert {"cls_token", "pos_embed", "blocks.11.attn.qkv.bias", "norm.weight"} <= table.names
    assert table.carries("head.weight") and not table.carries("blocks.3.ls1.gamma")


def test_positions_are_resized_as_torch_does_it():
    params = random_params()
    state = file_of(params, MARKS["timm"])
    resized = read(state, image_size=20)["vision"]["positions"]
    expected = resize_position_grid(state["pos_embed"][0], 3, 5)
    np.testing.assert_array_equal(resized[0], expected)
    np.testing.assert_array_equal(state["pos_embed"].shape, (1, 10, 6))


def test_distillation_token_goes_where_the_encoder_has_none():
    state = file_of(random_params(distilled=True), MARKS["huggingface"], distilled=True)
    positions = state["vit.embeddings.position_embeddings"]
    read_ = read(state)["vision"]
    np.testing.assert_array_equal(read_["positions"], np.delete(positions, 1, axis=1))
    assert "distillation_token" not in read_
    with pytest.raises(ValueError, match="distillation_token"):
        read(file_of(random_params(), MARKS["huggingface"]), distilled=True)


@pytest.mark.parametrize("naming", MARKS)
def test_missing_query_key_and_value_biases_are_zero(naming):
    params = flatten_dict(random_params(), sep="/")
    zero = [p for p in params if p.endswith(("query/bias", "key/bias", "value/bias"))]
    params |= {path: np.zeros_like(params[path]) for path in zero}
    params = unflatten_dict(params, sep="/")
    state = file_of(params, MARKS[naming])
    parts = ("qkv", "query", "key", "value", "q_proj", "k_proj", "v_proj")
    ends = tuple(f"{part}.bias" for part in parts)
    without = {key: value for key, value in state.items() if not key.endswith(ends)}
    assert len(without) < len(state)
    jax.tree.map(np.testing.assert_array_equal, read(without), params)


def test_classifiers_layers_beyond_and_other_towers_are_left_out():
    state = file_of(random_params(), MARKS["huggingface"])
    extra = {
        "classifier.weight": 0,
        "vit.pooler.dense.weight": 0,
        "text.encoder.layer.0.output.dense.bias": 0,
        "vit.encoder.layer.2.output.dense.bias": 0,
        "vit.encoder.layer.11.output.dense.bias": 0,
    }
    state |= {name: np.zeros(1, np.float32) for name in extra}
    assert read(state)["vision"].keys() == shapes()["vision"].keys()
    assert read(state, layers=1)["vision"].keys() == shapes(layers=1)["vision"].keys()
    with pytest.raises(ValueError, match="lambda_1"):
        read(state | {"vit.encoder.layer.0.lambda_1": np.zeros(6)})


def test_missing_layer_is_an_error():
    state = file_of(random_params(), MARKS["timm"])
    with pytest.raises(ValueError, match=r"blocks.2.norm1.weight"):
        read(state, layers=3)


def test_file_without_a_vit_or_with_two_says_so():
    with pytest.raises(ValueError, match="found none"):
        vit_naming(["bert.embeddings.word_embeddings.weight"])
    with pytest.raises(ValueError, match="a.patch_embed.proj.weight, b.patch_embed.proj.weight"):
        vit_naming(["a.patch_embed.proj.weight", "b.patch_embed.proj.weight"])


def test_args_come_from_config_json():
    args = vit_args({"model_type": "deit", "hidden_size": 8, "image_size": [32, 32]})
    assert args["distilled"] and args["width"] == 8 and args["image_size"] == 32
    assert args["epsilon"] == 1e-12 and args["heads"] == 12
    assert not vit_args({})["distilled"]
    assert ViT(**args).tokens == 2 * 2 + 2


@pytest.mark.parametrize("entry", [{"hidden_act": "relu"}, {"image_size": [32, 16]}])
def test_config_of_another_kind_of_vit_is_an_error(entry):
    with pytest.raises(ValueError, match=next(iter(entry))):
        vit_args(entry)
