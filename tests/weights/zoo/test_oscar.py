"""OSCAR presets: sizes, tensors as published, options of its configs, bit-equal round trips."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights.zoo.key_lists import read_keys
from vlp_jax.model import build_model
from vlp_jax.weights.conversion import count_parameters, published_shapes
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO, find
from vlp_jax.weights.zoo.base import abstract_shapes

GOLDENS = Path(__file__).parents[2] / "goldens"
BUNDLES = [
    "oscar-pretrain-a",
    "oscarplus-pretrain-a",
    "oscar-vqa-a",
    "oscar-nlvr2-a",
    "oscar-caption-a",
]
PRESETS = [name for name in ZOO if name.startswith("oscar")]


def read_golden(name, **changes):
    """Returns the published model, our config with `changes`, and the checkpoint of a bundle."""
    sizes = json.loads((GOLDENS / name / "config.json").read_text()) | changes
    published = find(sizes["model"], sizes["task"])
    state = read_state_dict(GOLDENS / name / "checkpoint.safetensors")
    return published, published.from_published(sizes), state


def tensors(name):
    model = ZOO[name]
    return published_shapes(abstract_shapes(build_model(model.config)), model.table())


def test_every_task_is_there_in_both_sizes():
    tasks = {"pretrain", "vqa", "gqa", "nlvr2", "retrieval", "caption"}
    for family in ("oscar", "oscarplus"):
        for width in (768, 1024):
            models = [m for m in ZOO.values() if m.family == family]
            of_width = {m.task for m in models if m.sizes["hidden_size"] == width}
            assert of_width == tasks
        assert find(family, "vqa").sizes["hidden_size"] == 768


@pytest.mark.parametrize("name", ["oscar", "oscarplus"])
def test_pre_training_has_exactly_the_published_tensors(name):
    published, written = read_keys(name), tensors(name)
    written.pop("cls.predictions.decoder.bias")  # accepted; files of that time lack it
    assert written == published
    assert len(published) == {"oscar": 209, "oscarplus": 211}[name]


@pytest.mark.parametrize("name", PRESETS)
def test_number_of_parameters(name):
    model = ZOO[name]
    width, layers = model.sizes["hidden_size"], model.sizes["num_hidden_layers"]
    plus = model.family == "oscarplus"
    inner, classes = 4 * width, model.sizes.get("num_labels", 0)
    layer = 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width
    embeddings = (30522 + 512 + 2) * width + 2 * width
    image = (2054 + 1) * width + 2 * width * plus
    pooler = width**2 + width
    transform = width**2 + 3 * width + 30522
    hidden = model.sizes.get("cls_hidden_scale", 0) * width
    head = {
        "pretrain": transform + (width + 1) * (3 if plus else 2),
        "nlvr2": (2 * width + 1) * hidden + 2 * hidden * plus + (hidden + 1) * 2,
        "caption": transform + (0 if plus else 30522 * width),
    }.get(model.task, (width + 1) * classes)
    expected = layers * layer + embeddings + image + pooler + head
    counted = count_parameters(abstract_shapes(build_model(model.config)))
    assert expected == model.parameters == counted


def test_pre_training_counts_what_the_reference_lists_count():
    numbers = {k: int(np.prod(s)) for k, s in read_keys("oscar").items()}
    numbers.pop("cls.predictions.decoder.weight")
    assert sum(numbers.values()) == ZOO["oscar"].parameters == pytest.approx(111.68e6, rel=1e-4)


@pytest.mark.parametrize("name", BUNDLES)
def test_round_trip_is_bit_equal(name):
    published, config, state = read_golden(name)
    written = published.save(published.load(state, config), config, like=state)
    assert list(written) == list(state)
    for key, array in state.items():
        assert written[key].dtype == array.dtype
        np.testing.assert_array_equal(written[key], array, err_msg=key)


def test_half_precision_files_come_back_as_they_were():
    published, config, state = read_golden("oscar-vqa-a")
    half = {k: v.astype(np.float16) for k, v in state.items()}
    params = published.load(half, config)
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    written = published.save(params, config, like=half)
    assert all(np.array_equal(written[k], half[k]) and written[k].dtype == "f2" for k in half)


def test_captioning_needs_its_own_output_layer_unless_it_is_tied():
    published, config, state = read_golden("oscar-caption-a")
    own = published.load(state, config)["heads_mlm"]["decoder"]
    np.testing.assert_array_equal(own, state["cls.predictions.decoder.weight"])
    without = {k: v for k, v in state.items() if not k.endswith("decoder.weight")}
    with pytest.raises(ValueError, match="the file lacks"):
        published.load(without, config)
    _, tied, _ = read_golden("oscar-caption-a", tie_weights=True)
    assert "decoder" not in published.load(without, tied)["heads_mlm"]
    with pytest.raises(ValueError, match="tied tensors that differ"):
        published.load(state, tied)


def test_image_norm_of_the_file_and_of_the_config_must_agree():
    published, config, state = read_golden("oscarplus-pretrain-a", use_img_layernorm=0)
    with pytest.raises(ValueError, match=r"bert\.LayerNorm\.weight \(32,\)"):
        published.load(state, config)


def test_image_norm_has_its_own_epsilon():
    _, config, _ = read_golden("oscarplus-pretrain-a", img_layer_norm_eps=1e-3)
    assert config.vision_args["epsilon"] == 1e-3
    assert config.text_args["epsilon"] == config.fusion_args["epsilon"] == 1e-12


@pytest.mark.parametrize(
    "bundle, changes, written",
    [
        ("oscar-vqa-a", {}, {"classifier.weight": (13, 32)}),
        (
            "oscar-vqa-a",
            {"classifier": "mlp", "cls_hidden_scale": 5},
            {"classifier.0.weight": (160, 32), "classifier.2.weight": (13, 160)},
        ),
        ("oscar-nlvr2-a", {"classifier": "linear"}, {"classifier.weight": (2, 64)}),
        (
            "oscar-nlvr2-a",
            {"use_img_layernorm": 1},
            {
                "classifier.0.weight": (96, 64),
                "classifier.2.weight": (96,),
                "classifier.3.weight": (2, 96),
            },
        ),
    ],
)
def test_classifiers_that_a_config_can_ask_for(bundle, changes, written):
    published, config, _ = read_golden(bundle, **changes)
    shapes = published_shapes(abstract_shapes(build_model(config)), published.table(config))
    found = {k: s for k, s in shapes.items() if k.startswith("classifier") and "weight" in k}
    assert found == written


@pytest.mark.parametrize(
    "bundle, changes, message",
    [
        ("oscar-vqa-a", {"classifier": "linaer"}, 'Did you mean "linear"'),
        ("oscar-vqa-a", {"img_feature_type": "dis_code_t"}, "region codes are not supported"),
        ("oscar-vqa-a", {"img_feature_dim": 6}, "img_feature_dim = 6"),
        ("oscar-nlvr2-a", {"num_choice": 3}, "num_choice = 3"),
    ],
)
def test_configs_that_cannot_be_honoured_are_refused(bundle, changes, message):
    with pytest.raises(ValueError, match=message):
        read_golden(bundle, **changes)


def test_matching_class_is_the_first_but_the_second_in_retrieval():
    for name in PRESETS:
        index = 1 if ZOO[name].task == "retrieval" else 0
        assert ZOO[name].conventions.match_index == index
        if "itm" in ZOO[name].config.heads:
            assert ZOO[name].config.heads["itm"]["match_index"] == index


def test_four_box_numbers_give_the_six_that_a_published_vector_ends_with():
    published, config, state = read_golden("oscar-pretrain-a")
    model, params = build_model(config), published.load(state, config)
    rng = np.random.default_rng()
    corner, size = rng.random((2, 3, 2)) / 2, rng.random((2, 3, 2)) / 2
    boxes = np.concatenate([corner, corner + size], -1)
    batch = {
        "region_features": jnp.asarray(rng.standard_normal((2, 3, 16)), jnp.float32),
        "region_mask": jnp.ones((2, 3), bool),
    }
    encode = lambda b: (
        model.apply(
            {"params": params},
            batch | {"region_boxes": jnp.asarray(b, jnp.float32)},
            method=type(model).encode_image,
        ).states
    )
    full = np.concatenate([boxes, size], -1)
    np.testing.assert_allclose(encode(boxes), encode(full), atol=1e-5)
