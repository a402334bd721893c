"""LXMERT: sizes, key names, layouts, Hugging Face directories and what sets the model apart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from tests.weights.zoo.key_lists import read_keys
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import VisionLanguageModel, build_model
from vlp_jax.verify.forward import quick_jit
from vlp_jax.weights.conversion import count_parameters, published_shapes, to_published
from vlp_jax.weights.safetensors_file import write_safetensors
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO, find, find_architecture
from vlp_jax.weights.zoo.base import abstract_shapes
from vlp_jax.weights.zoo.lxmert import trunk_config

NAMES = ["lxmert", "lxmert_trunk", "lxmert_vqa", "lxmert_gqa", "lxmert_nlvr2"]
TINY = {
    "vocab_size": 13,
    "hidden_size": 6,
    "num_attention_heads": 2,
    "intermediate_size": 5,
    "l_layers": 2,
    "r_layers": 1,
    "x_layers": 1,
    "max_position_embeddings": 7,
    "type_vocab_size": 3,
    "visual_feat_dim": 4,
    "num_object_labels": 3,
    "num_attr_labels": 5,
    "num_qa_labels": 8,
}


def tiny(name: str, **sizes):
    published = ZOO[name]
    config = published.from_published(TINY | sizes)
    return published, config, abstract_shapes(build_model(config))


def random_params(shapes):
    rng = np.random.default_rng()
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def same(one, two) -> bool:
    one, two = flatten_dict(one), flatten_dict(two)
    return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize("name", NAMES)
def test_presets_have_the_published_number_of_parameters(name):
    published = ZOO[name]
    shapes = abstract_shapes(build_model(published.config))
    assert count_parameters(shapes) == published.parameters


def test_keys_and_shapes_are_those_of_the_published_file():
    published, expected = ZOO["lxmert"], read_keys("lxmert")
    shapes = abstract_shapes(build_model(published.config))
    assert len(expected) == 473
    assert published_shapes(shapes, published.key_table(published.config)) == expected
    hugging = published.layouts["huggingface"].key_table(published.config)
    renamed = {name.replace("bert.", "lxmert.", 1): shape for name, shape in expected.items()}
    assert published_shapes(shapes, hugging) == renamed


def test_fine_tuned_files_hold_the_trunk_and_one_classifier():
    trunk = {k: v for k, v in read_keys("lxmert").items() if k.startswith("bert.")}
    for name, inputs, classes in (("vqa", 768, 3129), ("gqa", 768, 1842), ("nlvr2", 1536, 2)):
        published = ZOO[f"lxmert_{name}"]
        head = {
            "logit_fc.0.weight": (1536, inputs),
            "logit_fc.0.bias": (1536,),
            "logit_fc.2.weight": (1536,),
            "logit_fc.2.bias": (1536,),
            "logit_fc.3.weight": (classes, 1536),
            "logit_fc.3.bias": (classes,),
        }
        keys = published_shapes(
            abstract_shapes(build_model(published.config)), published.key_table(published.config)
        )
        assert keys == {f"lxrt_encoder.model.{k}": v for k, v in trunk.items()} | head


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", NAMES)
def test_every_layout_round_trips_bit_equal(name, dtype, tmp_path):
    published, config, shapes = tiny(name)
    params = random_params(shapes)
    builders = [published.key_table] + [x.key_table for x in published.layouts.values()]
    for i, build in enumerate(builders):
        state = to_published(params, build(config))
        state = {key: array.astype(dtype) for key, array in state.items()}
        file = tmp_path / f"{i}.safetensors"
        write_safetensors(file, {f"module.{k}": v for k, v in state.items()})
        stored = read_state_dict(file)
        loaded = published.load(stored, config)
        assert same(loaded, jax.tree.map(lambda x: x.astype(dtype).astype(np.float32), params))
        back = published.save(loaded, config, like=stored)
        assert back.keys() == state.keys()
        assert all(back[k].tobytes() == state[k].tobytes() for k in state)


@pytest.mark.parametrize("name", ["lxmert", "lxmert_trunk", "lxmert_vqa"])
def test_hugging_face_directories_are_written_and_read(name, tmp_path):
    sizes = {"visual_pos_dim": 5, "hidden_act": "relu", "task_obj_predict": False}
    published, config, shapes = tiny(name, **sizes)
    params = random_params(shapes)
    published.write_huggingface(tmp_path / "new", params, config)
    state = read_state_dict(tmp_path / "new")
    assert all(key.startswith("lxmert.") for key in state if "pooler" in key) == (
        name != "lxmert_trunk"
    )
    found = find_architecture(state.meta.config)
    assert found.from_published(found.sizes | state.meta.config) == config
    assert (found.family, found.architectures) == ("lxmert", published.architectures)
    assert found.from_published(state.meta.config) == config
    assert same(found.load(state, config), params)


def test_a_model_without_a_hugging_face_class_says_which_have_one(tmp_path):
    published, config, shapes = tiny("lxmert_nlvr2")
    with pytest.raises(ValueError, match="lxmert_nlvr2 has no Hugging Face class.*lxmert_vqa"):
        published.write_huggingface(tmp_path / "new", random_params(shapes), config)
    with pytest.raises(ValueError, match='Did you mean "LxmertForPreTraining"'):
        find_architecture({"architectures": ["LxmertForPretraining"]})


def test_the_trunk_alone_reads_a_pretraining_file():
    whole, config, shapes = tiny("lxmert")
    params = random_params(shapes)
    for build in (whole.key_table, whole.layouts["huggingface"].key_table):
        state = to_published(params, build(config))
        trunk = ZOO["lxmert_trunk"].load(state, trunk_config(TINY))
        assert same(trunk, {k: v for k, v in params.items() if not k.startswith("heads_")})


def test_what_does_not_fit_is_listed():
    published, config, shapes = tiny("lxmert")
    state = published.save(random_params(shapes), config)
    state["bert.encoder.x_layers.1.lang_inter.dense.bias"] = np.zeros(5, np.float32)
    del state["bert.pooler.dense.bias"]
    state["answer_head.logit_fc.3.bias"] = np.zeros(9, np.float32)
    with pytest.raises(ValueError) as error:
        published.load(state, config)
    for expected in ("bert.encoder.x_layers", "bert.pooler.dense.bias", "heads.vqa"):
        assert expected in str(error.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"visual_pos_dim": 3}, "visual_pos_dim = 3: no box encoding is that wide. Known: 4, 5"),
        ({"hidden_act": "gleu"}, 'hidden_act: unknown activation "gleu"'),
    ],
)
def test_impossible_configs_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        ZOO["lxmert"].from_published(TINY | sizes)


def test_hugging_faces_switches_leave_heads_out():
    config = ZOO["lxmert"].from_published(TINY | {"task_qa": False, "visual_attr_loss": False})
    assert list(config.heads) == ["mlm", "itm", "regions"]
    assert config.heads["regions"]["attributes"] == 0
    names = ZOO["lxmert"].layouts["huggingface"].key_table(config).names
    assert "obj_predict_head.decoder_dict.feat.bias" in names
    assert not any("attr" in name or "answer_head" in name for name in names)
    config = ZOO["lxmert"].from_published(TINY | {"task_obj_predict": False})
    assert list(config.heads) == ["mlm", "itm", "vqa"]


def test_a_fine_tuned_model_has_as_many_answers_as_its_config_says():
    published = ZOO["lxmert_vqa"]
    for sizes, answers in (({}, 3129), ({"num_qa_labels": 7}, 7), ({"num_labels": 5}, 5)):
        config = published.from_published(published.sizes | sizes)
        assert config.heads["vqa"]["classes"] == answers


def test_tasks_are_found_by_name():
    assert [find("lxmert", task).name for task in ("pretrain", "gqa")] == ["lxmert", "lxmert_gqa"]
    assert ZOO["lxmert_gqa"].config.heads["vqa"]["classes"] == 1842
    conventions = ZOO["lxmert"].conventions
    assert (conventions.match_index, conventions.add_sep, conventions.mlm_ignore) == (1, True, -1)


def encode(model: VisionLanguageModel, batch: dict):
    text = model.encode_text(batch["text_ids"], batch["text_mask"])
    fused = model.fuse(model.encode_image(batch), text)
    return fused, model.pool(fused)


def random_batch(regions: int = 3) -> dict:
    rng = np.random.default_rng()
    return {
        "text_ids": jnp.asarray(rng.integers(0, 13, (2, 4)), jnp.int32),
        "text_mask": jnp.asarray([[True] * 4, [True, True, False, False]]),
        "region_features": jnp.asarray(rng.normal(size=(2, regions, 4)), jnp.float32),
        "region_boxes": jnp.asarray(rng.random((2, regions, 4)), jnp.float32),
        "region_mask": jnp.ones((2, regions), bool),
    }


@pytest.mark.slow
@pytest.mark.parametrize("layers", [(2, 1, 1), (0, 0, 0)])
def test_padding_changes_nothing_at_any_depth_and_with_one_region(layers):
    sizes = dict(zip(("l_layers", "r_layers", "x_layers"), layers))
    _, config, shapes = tiny("lxmert_trunk", **sizes)
    model, params, batch = build_model(config), random_params(shapes), random_batch(1)
    run = quick_jit(lambda batch: model.apply({"params": params}, batch, method=encode))
    fused, pooled = run(batch)
    assert fused.image.states.shape == (2, 1, 6)
    padded = dict(batch)
    widen = lambda x: jnp.pad(x, ((0, 0), (0, 2)) + ((0, 0),) * (x.ndim - 2))
    for name in ("region_features", "region_boxes", "region_mask"):
        padded[name] = widen(batch[name])
    padded["text_ids"] = jnp.where(batch["text_mask"], batch["text_ids"], 5)
    again, pooled_again = run(padded)
    np.testing.assert_allclose(pooled_again, pooled, atol=1e-5)
    np.testing.assert_allclose(again.image.states[:, :1], fused.image.states, atol=1e-5)


@pytest.mark.slow
def test_first_rows_of_all_three_tables_get_no_gradient():
    _, config, shapes = tiny("lxmert_trunk", l_layers=0, r_layers=0)
    model, batch = build_model(config), random_batch()
    batch["text_ids"] = batch["text_ids"].at[:, 0].set(0).at[:, 1].set(7)
    loss = lambda params: model.apply({"params": params}, batch, method=encode)[1].sum()
    grads = quick_jit(jax.grad(loss))(random_params(shapes))["text"]
    for table in ("word", "position", "type"):
        assert not np.any(grads[table]["table"][0])
    assert np.any(grads["word"]["table"][7]) and np.any(grads["position"]["table"][1])


def test_one_cross_attention_serves_both_directions():
    _, config, shapes = tiny("lxmert_trunk")
    parts = set(shapes["fusion"]["layers"])
    assert parts == {"cross_attention"} | {
        f"{stream}_{part}"
        for stream in ("text", "image")
        for part in ("self_attention", "feed_forward")
    }


def test_the_pair_classifier_knows_left_from_right():
    _, config, shapes = tiny("lxmert_nlvr2")
    model, params = build_model(config), random_params(shapes)
    first, second = np.random.default_rng().normal(size=(2, 3, 6)).astype(np.float32)
    head = lambda model, a, b: model.head("nlvr2")(a, b)
    logits = model.apply({"params": params}, first, second, method=head)
    swapped = model.apply({"params": params}, second, first, method=head)
    assert logits.shape == (3, 2) and not np.allclose(logits, swapped, atol=1e-3)


def test_region_labels_give_what_has_a_size():
    _, config, shapes = tiny("lxmert", visual_obj_loss=False)
    model, params = build_model(config), random_params(shapes)
    states = Tokens(jnp.ones((2, 3, 6)), jnp.ones((2, 3), bool)).states
    labels = model.apply({"params": params}, states, method=lambda m, x: m.head("regions")(x))
    assert {k: v.shape for k, v in labels.items()} == {
        "attribute": (2, 3, 5),
        "feature": (2, 3, 4),
    }
