"""Each kind of weights finds its place in every composition, and is told from the others."""

import re

import numpy as np
import pytest

from tests.model.tiny import random_like
from tests.weights.test_initial import BLOCK, MODEL, VOCABULARY, experiment, read
from tests.weights.weight_files import BERT_CONFIG, WIDTH, bert_file, vit_file
from vlp_jax.config import to_plain
from vlp_jax.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import build_model
from vlp_jax.parallel import make_mesh, use_mesh
from vlp_jax.training.checkpoint import CheckpointStore
from vlp_jax.verify.bundle import read_bundle
from vlp_jax.weights.conversion import layers_apart
from vlp_jax.weights.interpolation import resize_position_grid
from vlp_jax.weights.safetensors_file import write_directory, write_safetensors
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO
from vlp_jax.weights.zoo.base import abstract_shapes
from vlp_jax.weights.zoo.resnet import encoder_shapes, write_resnet

REGIONS = dict(
    vision="regions",
    vision_args=dict(feature_width=4, width=WIDTH, boxes="corners_area", **BLOCK),
    pooler="tanh",
)
NO_LAYERS = MODEL["text_args"] | {"layers": 0}
CO_ATTENTION = dict(layers=2, connection_heads=2, image_heads=2, image_mlp_width=12, **BLOCK)
TEXT = {"text/layer_0": 0, "text/layer_1": 1}
# What differs, which of BERT's layers is where, and where its embeddings are normalised.
COMPOSITIONS = {
    "uniter": (
        dict(text_args=NO_LAYERS, fusion="single_stream", fusion_args=dict(layers=4, **BLOCK)),
        {f"fusion/layer_{i}": i for i in range(4)},
        "text/norm/bias",
    ),
    "visualbert": (
        dict(
            text_args=NO_LAYERS | {"embedding_norm": False},
            fusion="single_stream",
            fusion_args=dict(layers=2, embedding_norm=True, **BLOCK),
        ),
        {"fusion/layer_0": 0, "fusion/layer_1": 1},
        "fusion/embedding_norm/bias",
    ),
    "vilbert": (
        dict(fusion="co_attention", fusion_args=CO_ATTENTION),
        TEXT | {f"fusion/run_0_layer_{i}/text_layer_0": 2 + i for i in range(2)},
        "text/norm/bias",
    ),
    "albef for two images": (
        dict(fusion="two_image_cross_attention", fusion_args=dict(layers=2, **BLOCK)),
        TEXT
        | {f"fusion/layer_{i}/{which}": 2 + i for i in range(2) for which in ("first", "second")},
        "text/norm/bias",
    ),
    "lxmert": (
        dict(fusion="cross_modality", fusion_args=dict(layers=1, **BLOCK)),
        TEXT,
        "text/norm/bias",
    ),
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder, file = tmp_path_factory.mktemp("weights") / "bert", bert_file(4)
    write_directory(folder, file, BERT_CONFIG)
    return str(folder), file


def filled(given) -> dict[str, np.ndarray]:
    return dict(pair for filling in given.fillings for pair in filling.arrays())


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_a_bert_goes_on_where_the_composition_has_its_layers(bert, name):
    changes, layers, norm = COMPOSITIONS[name]
    arrays = filled(read({"path": bert[0]}, **REGIONS, **changes))
    found = {
        re.match(r"(text|fusion)/(run_0_)?layer_\d+(/(first|second|text_layer_0))?|", path)[0]
        for path in arrays
    }
    assert found - {""} == layers.keys()
    for ours, theirs in layers.items():
        bias = bert[1][f"bert.encoder.layer.{theirs}.intermediate.dense.bias"]
        np.testing.assert_array_equal(arrays[f"{ours}/feed_forward/expand/bias"], bias)
    np.testing.assert_array_equal(arrays[norm], bert[1]["bert.embeddings.LayerNorm.bias"])
    pooler = bert[1]["bert.pooler.dense.weight"].T
    np.testing.assert_array_equal(arrays["pooler/dense/kernel"], pooler)
    assert not any("cross_attention" in path or path.startswith("vision") for path in arrays)


def test_a_bert_too_short_for_the_fusion_leaves_it_fresh(tmp_path):
    write_safetensors(tmp_path / "short.safetensors", bert_file(3, prefix="", head=False))
    arrays = filled(read({"path": str(tmp_path / "short.safetensors")}))
    assert "fusion/layer_0/self_attention/norm/bias" in arrays
    assert not any(path.startswith(("fusion/layer_1", "heads_mlm")) for path in arrays)


def test_another_number_of_attention_heads_is_an_error(tmp_path):
    write_directory(tmp_path / "bert", bert_file(4), BERT_CONFIG | {"num_attention_heads": 4})
    with pytest.raises(ValueError, match="says 4 attention heads, the model 2"):
        read({"path": str(tmp_path / "bert")})


def test_a_stem_of_convolutions_keeps_its_own_patches(tmp_path):
    write_safetensors(tmp_path / "vit.safetensors", vit_file(1, grid=3, patch=4))
    vision = MODEL["vision_args"] | {"stem_width": 4}
    arrays = filled(read({"path": str(tmp_path / "vit.safetensors")}, vision_args=vision))
    assert "vision/positions" in arrays and "vision/layer_0/expand/kernel" in arrays
    assert not any("stem" in path or "patch_embedding" in path for path in arrays)


def test_a_resnet_fills_its_encoder_but_not_the_projection(tmp_path):
    args = dict(image_size=32, embedding_width=4, widths=(4, 8), depths=(1, 1), block="basic")
    params = random_like(encoder_shapes(args), np.random.default_rng())
    write_resnet(tmp_path / "resnet", args, params)
    given = read(
        {"path": str(tmp_path / "resnet")}, vision="resnet", vision_args=args | {"width": WIDTH}
    )
    assert given.fillings[0].weights.kind == "resnet"
    arrays, expected = filled(given), layers_apart(params)
    assert arrays.keys() == {f"vision/{path}" for path in expected}
    for path, array in expected.items():
        np.testing.assert_array_equal(arrays[f"vision/{path}"], array)
    assert "vision/norm (2), vision/positions, vision/projection (2)" in given.news[-1]


def test_a_published_model_fills_what_the_model_shares_with_it():
    bundle = read_bundle("tests/goldens/albef-pretrain-a")
    published = ZOO["albef"]
    config = published.from_published(bundle.config)
    state = read_state_dict(bundle.checkpoint)
    expected = layers_apart(published.load(state, config))
    model = to_plain(config) | {"heads": {"itm": {}, "vqa": {"classes": 3}}}
    model["text_args"] = model["text_args"] | {"max_length": 7}
    entry = {"path": str(bundle.checkpoint), "kind": "albef"}
    with pytest.raises(ValueError, match=r"lacks .*: heads_vqa \("):
        read(entry, **model)
    given = read(entry | {"exclude": ["heads_vqa"]}, **model)
    arrays = filled(given)
    expected["text/position/table"] = expected["text/position/table"][:7]
    for path, array in arrays.items():
        np.testing.assert_array_equal(array, expected[path])
    assert expected.keys() - arrays.keys() == {
        path for path in expected if path.startswith(("heads_itc", "heads_mlm"))
    }
    with pytest.raises(ValueError, match="look like bert and vit"):
        read({"path": str(bundle.checkpoint)}, **model)


def test_own_layouts_are_known_inside_of_a_mesh():
    published = ZOO["uniter_source_text"]
    with use_mesh(make_mesh()):
        assert (
            published.table(published.config).paths
            == layers_apart(abstract_shapes(build_model(published.config))).keys()
        )


def save_run(workdir, params, vocabulary=VOCABULARY, **model) -> dict[str, str]:
    """Writes a run's checkpoint with these parameters; returns the entry that reads it."""
    config = to_plain(experiment(**model))
    store = CheckpointStore(workdir)
    store.save(3, {"params": params}, {"config": config, "vocabulary": vocabulary.to_json()})
    store.close()
    return {"path": str(workdir)}


def test_a_run_fills_everything_with_positions_resized(tmp_path):
    config = experiment().model
    params = random_like(abstract_shapes(build_model(config)), np.random.default_rng())
    entry = save_run(tmp_path / "run", params)
    given = read(entry, vision_args=MODEL["vision_args"] | {"image_size": 20})
    arrays, expected = filled(given), layers_apart(params)
    assert given.fillings[0].weights.kind == "run" and arrays.keys() == expected.keys()
    positions = resize_position_grid(expected.pop("vision/positions")[0], 3, 5)[None]
    np.testing.assert_array_equal(arrays["vision/positions"], positions)
    for path, array in expected.items():
        np.testing.assert_array_equal(arrays[path], array)
    assert given.news[-1] == "init_from: freshly drawn are none"
    stream = dict(fusion="single_stream", fusion_args=dict(layers=2, **BLOCK))
    with pytest.raises(ValueError, match=r"lacks .*: fusion \("):
        read(entry, **stream)


def test_words_of_another_run_are_refused(tmp_path):
    params = random_like(abstract_shapes(build_model(experiment().model)), np.random.default_rng())
    words = Vocabulary(Tokenizer.from_vocab([*SPECIAL_TOKENS, *"abcdex"]), ("no",))
    entry = save_run(tmp_path / "run", params, words)
    with pytest.raises(ValueError, match="another vocabulary: set config.data.vocabulary"):
        read(entry)
    arrays = filled(read(entry | {"exclude": ["text/word", "heads_mlm"]}))
    assert "text/word/table" not in arrays and "text/position/table" in arrays


def test_a_file_of_nothing_known_says_what_is(tmp_path):
    write_safetensors(tmp_path / "x.safetensors", {"a.weight": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="look like none of bert, vit, resnet.*set kind"):
        read({"path": str(tmp_path / "x.safetensors")})
