"""ViLBERT: names, shapes and counts as published; random configurations against a NumPy oracle."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights.zoo.key_lists import read_keys
from tests.weights.zoo.reading import read_head
from tests.weights.zoo.vilbert_oracle import Oracle
from vlp_jax.heads.weight_norm import WeightNormLinear
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.model import build_model
from vlp_jax.verify.forward import consecutive
from vlp_jax.weights.conversion import count_parameters, layers_apart, published_shapes
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO, find
from vlp_jax.weights.zoo.base import abstract_shapes
from vlp_jax.weights.zoo.vilbert import BASE_SIZES, layer_counts, pretrain_config

GOLDENS = Path(__file__).parents[2] / "goldens"
PRESETS = [model.name for model in ZOO.values() if model.family == "vilbert"]
KEY_LISTS = {
    "vilbert": (),
    "vilbert_beta": (),
    "vilbert_12in1": ("vilbert_12in1_tasks",),
    "vilbert_beta_vqa": ("vilbert_beta_tasks",),
}
TINY = BASE_SIZES | {
    "vocab_size": 13,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 6,
    "max_position_embeddings": 7,
    "v_feature_size": 5,
    "v_target_size": 4,
    "v_hidden_size": 6,
    "v_num_hidden_layers": 1,
    "v_num_attention_heads": 3,
    "v_intermediate_size": 7,
    "bi_hidden_size": 10,
    "bi_num_attention_heads": 5,
    "v_biattention_id": [0],
    "t_biattention_id": [1],
}


@pytest.mark.parametrize("name", KEY_LISTS)
def test_preset_has_exactly_the_published_tensors(name):
    published = read_keys("vilbert_pretrain")
    for extra in KEY_LISTS[name]:
        published |= read_keys(extra)
    table = ZOO[name].key_table(ZOO[name].config)
    unused = {k: shape for k, shape in published.items() if "q_dense" in k}
    assert len(unused) == 24 and all(table.carries(key) for key in unused)
    shapes = abstract_shapes(build_model(ZOO[name].config))
    computed = {k: shape for k, shape in published.items() if k not in unused}
    assert published_shapes(shapes, table) == computed
    tied = "cls.predictions.decoder.weight"
    trained = sum(int(np.prod(shape)) for k, shape in computed.items() if k != tied)
    assert ZOO[name].parameters == trained


@pytest.mark.parametrize("name", PRESETS)
def test_preset_builds_with_its_parameters_all_filled(name):
    shapes = abstract_shapes(build_model(ZOO[name].config))
    assert count_parameters(shapes) == ZOO[name].parameters
    assert layers_apart(shapes).keys() == ZOO[name].key_table(ZOO[name].config).paths


def test_presets_are_found_by_the_names_of_bundles():
    assert find("vilbert", "pretrain").name == "vilbert"
    assert find("vilbert", "12in1").name == "vilbert_12in1"
    assert find("vilbert", "vl").name == "vilbert_beta_vqa"
    assert all(ZOO[name].conventions.match_index == 0 for name in PRESETS)


@pytest.mark.parametrize("bundle", ["vilbert-pretrain-a", "vilbert-12in1-a", "vilbert-beta-vl-a"])
def test_round_trip_is_bit_equal(bundle):
    sizes = json.loads((GOLDENS / bundle / "config.json").read_text())
    state = read_state_dict(GOLDENS / bundle / "checkpoint.safetensors")
    published = find("vilbert", sizes["task"])
    config = published.from_published(sizes)
    params = published.load(state, config)
    written = published.save(params, config, like=state)
    assert list(written) == list(state)
    assert all(written[key].tobytes() == state[key].tobytes() for key in state)
    alone = published.save(params, config)
    assert set(state) - set(alone) == {key for key in state if "q_dense" in key}


def draw_ids(rng, connections: int, layers: int) -> list[int]:
    return sorted(int(i) for i in rng.integers(0, layers + 1, connections))


def draw_sizes(rng) -> dict:
    heads = {name: int(rng.integers(1, 4)) for name in ("", "v_", "bi_")}
    width = {name: count * int(rng.integers(2, 6)) for name, count in heads.items()}
    connections, layers, image_layers = (int(n) for n in rng.integers(0, 4, 3))
    return TINY | {
        "hidden_size": width[""],
        "v_hidden_size": width["v_"],
        "bi_hidden_size": width["bi_"],
        "num_attention_heads": heads[""],
        "v_num_attention_heads": heads["v_"],
        "bi_num_attention_heads": heads["bi_"],
        "num_hidden_layers": layers,
        "v_num_hidden_layers": image_layers,
        "v_biattention_id": draw_ids(rng, connections, image_layers),
        "t_biattention_id": draw_ids(rng, connections, layers),
        "hidden_act": str(rng.choice(["gelu", "relu", "swish"])),
        "v_hidden_act": str(rng.choice(["gelu", "relu", "swish"])),
        "fusion_method": str(rng.choice(["mul", "sum"])),
        "type_vocab_size": int(rng.integers(1, 4)),
        "task_specific_tokens": bool(rng.integers(2)),
        "num_task_embeddings": int(rng.integers(1, 6)),
        "visual_target": int(rng.integers(2)),
    }


def draw_mask(rng, rows: int, length: int) -> np.ndarray:
    return (np.arange(length) < rng.integers(1, length + 1, rows)[:, None]).astype(np.int64)


def draw_inputs(rng, sizes: dict) -> dict[str, np.ndarray]:
    rows, length, regions = (
        int(rng.integers(1, 4)),
        int(rng.integers(1, 8)),
        int(rng.integers(1, 6)),
    )
    return {
        "input_ids": rng.integers(0, sizes["vocab_size"], (rows, length)),
        "attention_mask": draw_mask(rng, rows, length),
        "token_type_ids": rng.integers(0, sizes["type_vocab_size"], (rows, length)),
        "task_ids": rng.integers(0, sizes["num_task_embeddings"], (rows, 1)),
        "features": rng.normal(size=(rows, regions, sizes["v_feature_size"])).astype(np.float32),
        "spatials": rng.random((rows, regions, 5)).astype(np.float32),
        "image_mask": draw_mask(rng, rows, regions),
    }


def run_port(config, params, inputs):
    """Returns fused tokens, word logits, region logits and matching logits."""

    def forward(model):
        image = model.encode_image(
            {
                "region_features": inputs["features"],
                "region_boxes": inputs["spatials"],
                "region_mask": inputs["image_mask"].astype(bool),
            }
        )
        tasks = {"tasks": inputs["task_ids"]} if config.text_args["tasks"] else {}
        mask = inputs["attention_mask"].astype(bool)
        text = model.encode_text(inputs["input_ids"], mask, inputs["token_type_ids"], **tasks)
        fused = model.fuse(image, text)
        (regions,) = model.head("regions")(fused.image.states).values()
        words = read_head(model, "mlm", fused)
        return fused, words, regions, read_head(model, "itm", fused)

    return build_model(config).apply({"params": params}, method=forward)


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("draw", range(4))
def test_random_configurations_agree_with_the_oracle(draw):
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    sizes = draw_sizes(rng)
    config = pretrain_config(sizes)
    table, model = ZOO["vilbert"].key_table(config), build_model(config)
    shapes = published_shapes(abstract_shapes(model), table)
    state = {k: rng.normal(0, 0.3, shape).astype(np.float16) for k, shape in shapes.items()}
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    params, inputs = ZOO["vilbert"].load(state, config), draw_inputs(rng, sizes)
    oracle = Oracle(sizes, state)
    text, image, text_mask = oracle.streams(inputs)
    words, regions, match, _ = oracle.base_heads(text, image)
    fused, our_words, our_regions, our_match = run_port(config, params, inputs)
    np.testing.assert_array_equal(fused.text.mask, text_mask.astype(bool))
    for name, ours, theirs in (
        ("text", fused.text.states, text),
        ("image", fused.image.states, image),
        ("words", our_words, words),
        ("regions", our_regions, regions),
        ("match", our_match, match),
    ):
        tolerance = 2e-5 * max(1.0, np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, atol=tolerance, rtol=0, err_msg=f"{name} {sizes}")


def test_published_order_of_layers():
    """Six text layers first; then each connection is followed by one image and one text layer."""
    assert layer_counts(BASE_SIZES) == ((0, 1, 1, 1, 1, 1, 1), (6, 1, 1, 1, 1, 1, 1))
    sizes = TINY | {
        "v_num_hidden_layers": 3,
        "num_hidden_layers": 4,
        "v_biattention_id": [1, 1],
        "t_biattention_id": [0, 4],
    }
    assert layer_counts(sizes) == ((1, 0, 2), (0, 4, 0))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"t_biattention_id": [3]}, "t_biattention_id = .3.: expected ascending"),
        ({"v_biattention_id": [-1]}, "v_biattention_id"),
        ({"v_biattention_id": [0, 1]}, "one each for every connection layer"),
        ({"fusion_method": "text"}, "expected one of mul, sum"),
        ({"dynamic_attention": True}, "no published ViLBERT has this"),
    ],
)
def test_configs_that_no_published_model_has_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        pretrain_config(TINY | change)


@pytest.mark.slow
def test_task_token_follows_cls_without_a_position():
    config = pretrain_config(TINY | {"task_specific_tokens": True, "num_task_embeddings": 3})
    model = build_model(config)
    params = random_params(abstract_shapes(model))
    ids, mask = jnp.array([[1, 5, 2, 0]]), jnp.array([[True, True, True, False]])
    encode = lambda **tasks: model.apply(
        {"params": params}, ids, mask, method=Model.encode_text, **tasks
    )
    named, default = encode(tasks=jnp.array([[1]])), encode()
    np.testing.assert_array_equal(named.states, default.states)  # VQA is task 1
    np.testing.assert_array_equal(named.mask, [[True, True, True, True, False]])
    assert not np.allclose(encode(tasks=jnp.array([2])).states, default.states)


def random_params(shapes):
    rng = np.random.default_rng()
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)


def test_pairs_are_consecutive_rows_and_an_odd_number_is_refused():
    rows = lambda count: Tokens(jnp.arange(2.0 * count).reshape(count, 1, 2), jnp.ones((count, 1)))
    first, second = consecutive(Fused(image=rows(4), text=rows(4)))
    np.testing.assert_array_equal(first.text.states[:, 0], [[0, 1], [4, 5]])
    np.testing.assert_array_equal(second.image.states[:, 0], [[2, 3], [6, 7]])
    with pytest.raises(ValueError, match="3 rows cannot be paired"):
        consecutive(Fused(image=rows(3), text=rows(3)))


def test_weight_norm_has_one_magnitude_for_the_whole_matrix():
    params = {
        "direction": jnp.array([[3.0, 0.0], [0.0, 4.0]]),
        "magnitude": jnp.float32(10.0),
        "bias": jnp.array([1.0, -1.0]),
    }
    out = WeightNormLinear(2).apply({"params": params}, jnp.array([[1.0, 1.0]]))
    np.testing.assert_allclose(out, [[3 * 2 + 1, 4 * 2 - 1]], rtol=1e-6)
    fresh = WeightNormLinear(3).init(jax.random.key(0), jnp.ones((1, 2)))["params"]
    direction = fresh["direction"].unbox()
    np.testing.assert_allclose(fresh["magnitude"], jnp.linalg.norm(direction), rtol=1e-6)


def test_regions_that_are_not_there_score_far_below_the_others():
    config = ZOO["vilbert_beta_vcr"].from_published(TINY | {"num_labels": 1})
    model = build_model(config)
    params = random_params(abstract_shapes(model))
    states = jnp.ones((2, 3, 6))
    tokens = Tokens(states, jnp.array([[True, False, False], [True, True, True]]))
    score = lambda m: m.head("grounding")(tokens)
    scores = model.apply({"params": params}, method=score)
    np.testing.assert_allclose(scores[0, 1:], scores[0, 0] - 1e4, rtol=1e-6)
    np.testing.assert_allclose(scores[1], scores[0, 0], rtol=1e-6)


@pytest.mark.parametrize("method, expected", [("mul", [2.0, 0.0]), ("sum", [3.0, 4.0])])
def test_both_ways_to_join_the_pooled_vectors(method, expected):
    sizes = TINY | {"hidden_size": 2, "v_hidden_size": 3, "bi_hidden_size": 2}
    sizes |= {"num_attention_heads": 1, "bi_num_attention_heads": 1, "fusion_method": method}
    model = build_model(pretrain_config(sizes))
    params = {
        "pooler": {
            "text": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)},
            "image": {"kernel": jnp.eye(3, 2), "bias": jnp.zeros(2)},
        }
    }
    mask = jnp.ones((1, 1), bool)
    fused = Fused(
        text=Tokens(jnp.array([[[1.0, 4.0]]]), mask),
        image=Tokens(jnp.array([[[2.0, -5.0, 9.0]]]), mask),
    )
    pooled = model.apply({"params": params}, fused, method=Model.pool)
    np.testing.assert_array_equal(pooled, [expected])
