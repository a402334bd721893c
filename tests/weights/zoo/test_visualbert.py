"""VisualBERT presets: tensors as published, round trips, both layouts, both visual types."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta

from tests.weights.zoo.key_lists import read_keys
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.model import build_model, example_batch
from vlp_jax.weights.conversion import count_parameters, published_shapes
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO, find, find_architecture
from vlp_jax.weights.zoo.base import abstract_shapes
from vlp_jax.weights.zoo.visualbert import base_sizes

GOLDENS = Path(__file__).parents[2] / "goldens"
KEY_LISTS = {
    "visualbert": "pretrain",
    "visualbert_nlvr2_pretrain": "pretrain",
    "visualbert_vcr_pretrain": "pretrain",
    "visualbert_flickr_pretrain": "pretrain",
    "visualbert_vqa": "vqa",
    "visualbert_nlvr2": "nlvr2",
    "visualbert_vcr": "vcr",
}
WIDTHS = {"nlvr2": 1024, "vcr": 512, "flickr": 2054}
BUNDLES = ["pretrain-a", "vqa-a", "nlvr2-a", "vcr-a"]
TINY = dict(
    visual_embedding_dim=5,
    vocab_size=11,
    hidden_size=6,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=7,
    hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.2,
    max_position_embeddings=9,
    type_vocab_size=2,
)


def read_golden(name):
    """Returns the published model, our config and the checkpoint of a reference bundle."""
    folder = GOLDENS / f"visualbert-{name}"
    sizes = json.loads((folder / "config.json").read_text())
    published = find("visualbert", sizes["task"])
    state = read_state_dict(folder / "checkpoint.safetensors")
    return published, published.from_published(sizes), state


def published_keys(name):
    """Returns the reference list, with the width of the preset's own detector features."""
    keys = read_keys(f"visualbert_{KEY_LISTS[name]}")
    width = next((w for task, w in WIDTHS.items() if task in name), 2048)
    return keys | {"bert.bert.embeddings.projection.weight": (768, width)}


@pytest.mark.parametrize("name", KEY_LISTS)
def test_preset_has_exactly_the_published_tensors(name):
    shapes = abstract_shapes(build_model(ZOO[name].config))
    keys = published_keys(name)
    assert published_shapes(shapes, ZOO[name].key_table(ZOO[name].config)) == keys
    once = [shape for key, shape in keys.items() if not key.endswith("decoder.weight")]
    assert count_parameters(shapes) == ZOO[name].parameters == sum(map(np.prod, once))


@pytest.mark.parametrize("name", ["visualbert_flickr", "visualbert_trunk"])
def test_preset_without_a_published_file_counts_its_parameters(name):
    assert count_parameters(abstract_shapes(build_model(ZOO[name].config))) == ZOO[name].parameters


@pytest.mark.parametrize("name", BUNDLES)
def test_round_trip_is_bit_equal(name):
    published, config, state = read_golden(name)
    written = published.save(published.load(state, config), config, like=state)
    assert list(written) == list(state)
    for key, array in state.items():
        assert written[key].dtype == array.dtype
        np.testing.assert_array_equal(written[key], array, err_msg=key)


@pytest.mark.parametrize("name", BUNDLES)
def test_huggingface_directory_holds_the_same_model(name, tmp_path):
    published, config, state = read_golden(name)
    params = published.load(state, config)
    published.write_huggingface(tmp_path / "model", params, config)
    directory = read_state_dict(tmp_path / "model")
    found = find_architecture(directory.meta.config)
    assert (found.family, found.task) == ("visualbert", published.task)
    assert found.from_published(directory.meta.config) == config
    assert not any(key.startswith("bert.") for key in directory)
    jax.tree.map(np.testing.assert_array_equal, found.load(directory, config), params)


def test_trunk_is_read_from_a_directory_of_its_own_and_from_files_with_heads(tmp_path):
    trunk = ZOO["visualbert_trunk"]
    pretrain, with_heads, state = read_golden("pretrain-a")
    full = pretrain.load(state, with_heads)
    config = dataclasses.replace(with_heads, heads={})
    params = {part: full[part] for part in full if not part.startswith("heads")}
    trunk.write_huggingface(tmp_path / "trunk", params, config)
    pretrain.write_huggingface(tmp_path / "model", full, with_heads)
    directory = read_state_dict(tmp_path / "trunk")
    assert "embeddings.visual_projection.weight" in directory
    assert find_architecture(directory.meta.config) is trunk
    for file in (directory, read_state_dict(tmp_path / "model"), state):
        jax.tree.map(np.testing.assert_array_equal, trunk.load(file, config), params)
        assert list(trunk.save(params, config, like=file)) == list(file)


def test_regions_of_a_directory_have_type_one_unless_it_says_otherwise():
    default = lambda **more: find("visualbert", "vqa").from_published(TINY | more)
    kind = lambda config: config.vision_args["default_type"]
    assert kind(default()) == 0
    assert kind(default(model_type="visual_bert")) == 1
    assert kind(default(model_type="visual_bert", default_visual_type=0)) == 0


@pytest.mark.parametrize(
    "entries, classes",
    [
        ({}, 3129),
        ({"num_labels": 7}, 7),
        ({"model_type": "visual_bert"}, 2),
        ({"model_type": "visual_bert", "num_labels": 1}, 1),
        ({"model_type": "visual_bert", "id2label": {"0": "a", "1": "b", "2": "c"}}, 3),
    ],
)
def test_number_of_answers_is_as_published_or_as_the_directory_says(entries, classes):
    sizes = ZOO["visualbert_vqa"].sizes | entries
    assert ZOO["visualbert_vqa"].from_published(sizes).heads["vqa"]["classes"] == classes


def test_detector_of_a_vcr_file_is_carried_and_other_tensors_are_errors():
    published, config, state = read_golden("vcr-a")
    extra = {"detector.backbone.0.weight": np.ones((2, 2), np.float32)}
    params = published.load({**state, **extra}, config)
    written = published.save(params, config, like={**state, **extra})
    np.testing.assert_array_equal(written["detector.backbone.0.weight"], np.ones((2, 2)))
    with pytest.raises(ValueError, match="bert.backbone"):
        published.load({**state, "bert.backbone.weight": np.ones(1, np.float32)}, config)


def test_checkpoint_of_another_task_says_what_is_missing():
    vqa, config, _ = read_golden("vqa-a")
    _, _, pretrained = read_golden("pretrain-a")
    with pytest.raises(ValueError, match="(?s)bert.classifier.weight.*bert.cls"):
        vqa.load(pretrained, config)


def test_bypass_of_the_transformer_is_refused():
    with pytest.raises(ValueError, match="bypass_transformer"):
        find("visualbert", "pretrain").from_published(TINY | {"bypass_transformer": True})


@pytest.mark.parametrize("task", ["pretrain", "vqa", "nlvr2", "vcr", "flickr", "trunk"])
@pytest.mark.parametrize("layers", [0, 1])
def test_every_task_runs_without_boxes_at_any_depth(task, layers):
    config = find("visualbert", task).from_published(TINY | {"num_hidden_layers": layers})
    model = build_model(config)
    batch = example_batch(model, 2)
    del batch["region_boxes"]
    outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), batch)
    assert outputs["fused"].image.states.shape == (2, 4, 6)


@pytest.mark.slow
def test_region_types_and_alignment_of_the_batch_change_the_image():
    config = find("visualbert", "vcr").from_published(TINY)
    model = build_model(config)
    batch = example_batch(model)
    params = jax.jit(model.init)(jax.random.key(0), batch)
    apply = jax.jit(lambda batch: model.apply(params, batch, method=Model.encode_image).states)
    encode = lambda **more: np.asarray(apply(batch | more))
    ones = jnp.ones((1, 4), jnp.int32)
    words = jnp.array([[[0, 2], [-1, -1], [1, -1], [-1, 3]]])
    tables = jax.tree.map(np.asarray, meta.unbox(params["params"]))
    types, table = tables["vision"]["type"]["table"], tables["text"]["position"]["table"]
    turned = np.broadcast_to(types[1] - types[0], (1, 4, 6))
    np.testing.assert_allclose(encode(region_types=ones) - encode(), turned, atol=1e-6)
    moved = np.stack([(table[0] + table[2]) / 2, np.zeros(6), table[1], table[3]])[None]
    np.testing.assert_allclose(encode(region_alignment=words) - encode(), moved, atol=1e-6)
    padded = jnp.pad(words, ((0, 0), (0, 3), (0, 0)))
    np.testing.assert_array_equal(encode(region_alignment=padded), encode(region_alignment=words))
    with pytest.raises(ValueError, match="2 rows for 4 regions"):
        encode(region_alignment=words[:, :2])


def test_published_size_is_bert_base():
    assert base_sizes(2048)["hidden_size"] == 768
    assert ZOO["visualbert"].conventions.mlm_ignore == -1
    assert ZOO["visualbert"].conventions.match_index == 1
