"""UNITER presets: tensor names, shapes and counts as published; files in and out."""

import json
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights.zoo.key_lists import read_keys
from vlp_jax.model import build_model, example_batch
from vlp_jax.weights.conversion import count_parameters, layers_apart, published_shapes
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO, find
from vlp_jax.weights.zoo.base import abstract_shapes
from vlp_jax.weights.zoo.uniter import REGION_TYPE, TYPES

GOLDENS = Path(__file__).parents[2] / "goldens"
KEY_LISTS = {
    "uniter": "uniter_pretrain_base",
    "uniter_large": "uniter_pretrain_large",
    "uniter_vqa": "uniter_vqa_base",
    "uniter_nlvr2": "uniter_nlvr2_base",
    "uniter_retrieval": "uniter_itm_base",
    "uniter_re": "uniter_re_base",
}
REPEATED = ("cls.predictions.decoder.weight", "feat_regress.weight")
UNITERS = [name for name in ZOO if name.startswith("uniter")]


@cache
def shapes_of(name):
    return abstract_shapes(build_model(ZOO[name].config))


def sizes_of(name):
    return json.loads((GOLDENS / name / "config.json").read_text())


def read_golden(name):
    """Returns the published model, our config and the checkpoint of a reference bundle."""
    sizes = sizes_of(name)
    published = find("uniter", sizes["task"])
    state = read_state_dict(GOLDENS / name / "checkpoint.safetensors")
    return published, published.from_published(sizes), state


@pytest.mark.parametrize("name", KEY_LISTS)
def test_preset_has_exactly_the_published_tensors(name):
    published = read_keys(KEY_LISTS[name])
    table = ZOO[name].key_table(ZOO[name].config)
    written = published_shapes(shapes_of(name), table)
    written.pop("cls.predictions.decoder.bias", None)  # only files since 2020 repeat the bias
    if name == "uniter_nlvr2":  # the model's third type is made after the model
        published[TYPES] = (3, 768)
    assert written == published
    unique = {k: shape for k, shape in published.items() if k not in REPEATED}
    assert ZOO[name].parameters == sum(int(np.prod(shape)) for shape in unique.values())


@pytest.mark.parametrize("name", UNITERS)
def test_preset_builds_with_its_parameters_all_filled(name):
    shapes = shapes_of(name)
    assert count_parameters(shapes) == ZOO[name].parameters
    paths = layers_apart(shapes).keys()
    assert paths == ZOO[name].key_table(ZOO[name].config).paths


def test_vcr_has_four_types_and_81_more_words():
    text = ZOO["uniter_vcr"].config.text_args
    assert (text["types"], text["vocab_size"]) == (4, 28996 + 81)


@pytest.mark.parametrize("task", ["pretrain", "vqa", "nlvr2", "itm", "re"])
def test_round_trip_is_bit_equal(task):
    published, config, state = read_golden(f"uniter-{task}-a")
    written = published.save(published.load(state, config), config, like=state)
    assert list(written) == list(state)
    for key, array in state.items():
        assert written[key].dtype == array.dtype
        np.testing.assert_array_equal(written[key], array, err_msg=key)


def test_nlvr2_starts_with_the_type_of_the_first_image_for_the_second():
    published, config, state = read_golden("uniter-nlvr2-a")
    state = {**state, TYPES: state[TYPES][:2]}
    types = published.load(state, config)["text"]["type"]["table"]
    np.testing.assert_array_equal(types, np.concatenate([state[TYPES], state[TYPES][1:]]))


def test_ranking_starts_from_the_matching_logit_of_a_pretraining_file():
    _, _, state = read_golden("uniter-pretrain-a")
    published = find("uniter", "itm")
    sizes = sizes_of("uniter-pretrain-a")
    params = published.load(state, published.from_published(sizes))
    rank, matching = params["heads_rank"]["output"], params["heads_itm"]["dense"]
    np.testing.assert_array_equal(rank["kernel"], matching["kernel"][:, 1:])
    np.testing.assert_array_equal(rank["bias"], matching["bias"][1:])


def test_a_file_whose_tied_tensors_differ_is_refused():
    published, config, state = read_golden("uniter-pretrain-a")
    state = {**state, "feat_regress.weight": state["feat_regress.weight"] + 1}
    with pytest.raises(ValueError, match="tied(.|\n)*feat_regress.weight"):
        published.load(state, config)


@pytest.mark.parametrize("mlp, hidden", [(1, False), (2, True)])
def test_referring_expressions_take_one_or_two_layers(mlp, hidden):
    published = find("uniter", "re")
    config = published.from_published(sizes_of("uniter-re-a") | {"mlp": mlp})
    names = published.key_table(config).names
    assert ("re_output.3.weight" in names) == hidden
    assert ("re_output.weight" in names) != hidden


def test_referring_expressions_with_three_layers_are_refused():
    with pytest.raises(ValueError, match='"mlp" is 3'):
        find("uniter", "re").from_published(sizes_of("uniter-re-a") | {"mlp": 3})


@pytest.fixture(scope="module")
def encode_regions():
    """Encodes four equal regions; keywords are further fields of the batch."""
    published, config, state = read_golden("uniter-pretrain-a")
    model, params = build_model(config), published.load(state, config)
    batch = example_batch(model) | {"region_hidden": jnp.zeros((1, 4), bool)}
    batch |= {"region_types": jnp.full((1, 4), REGION_TYPE)}
    encode = jax.jit(lambda b: model.apply({"params": params}, b, method=model.encode_image).states)
    untyped = {name: x for name, x in batch.items() if name != "region_types"}
    return lambda typed=True, **fields: encode((batch if typed else untyped) | fields)


def test_unmarked_regions_are_of_the_region_type(encode_regions):
    plain = encode_regions(typed=False)
    np.testing.assert_allclose(plain, encode_regions(), atol=1e-6)
    assert not np.allclose(plain, encode_regions(region_types=jnp.zeros((1, 4), int)))


def test_only_hidden_regions_get_the_mask_embedding(encode_regions):
    hidden = jnp.array([[True, False, False, True]])
    changed = np.abs(encode_regions(region_hidden=hidden) - encode_regions()).max(-1) > 1e-3
    np.testing.assert_array_equal(changed, hidden)


def test_source_text_model_reads_both_ways():
    """A word changes what the regions become, and a region what the words become."""
    sizes = ZOO["uniter_source_text"].sizes | {
        "hidden_size": 16,
        "img_dim": 6,
        "intermediate_size": 24,
        "max_position_embeddings": 8,
        "num_answer": 5,
        "num_attention_heads": 2,
        "num_cross_modal_layers": 1,
        "num_image_layers": 1,
        "num_text_layers": 1,
        "vocab_size": 30,
    }
    published = ZOO["uniter_source_text"]
    model = build_model(published.from_published(sizes))
    batch = example_batch(model)
    draw = np.random.default_rng()
    # Small enough that attention stays soft: a saturated one may not look at the changed token.
    params = jax.tree.map(lambda x: draw.normal(scale=0.3, size=x.shape), abstract_shapes(model))
    run = jax.jit(lambda batch: model.apply({"params": params}, batch))

    plain = run(batch)
    word = run(batch | {"text_ids": batch["text_ids"].at[0, 3].set(7)})
    region = run(batch | {"region_features": batch["region_features"].at[0, 2].set(1.0)})
    assert not np.allclose(word["fused"].image.states, plain["fused"].image.states)
    assert not np.allclose(region["fused"].text.states, plain["fused"].text.states)
    np.testing.assert_array_equal(word["image"].states, plain["image"].states)
    np.testing.assert_array_equal(region["text"].states, plain["text"].states)
    assert plain["mlm"].shape == (1, 8, 30)
    assert plain["itm"].shape == (1, 2) and plain["vqa"].shape == (1, 5)
