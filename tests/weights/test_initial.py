"""Given weights fill the right parameters, keep their shardings, and what does not fit is told."""

import jax
import numpy as np
import pytest

from tests.model.tiny import random_like
from tests.training.tiny import CONFIG
from tests.weights.weight_files import (
    BERT_CONFIG,
    HEADS,
    LENGTH,
    MLP,
    VIT_CONFIG,
    WIDTH,
    WORDS,
    bert_file,
    bert_states,
    vit_file,
)
from vlp_jax.config import ExperimentConfig, ModelConfig, build, load_config, to_plain
from vlp_jax.data.tokenizer import SPECIAL_TOKENS, Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import build_model
from vlp_jax.model.model import VisionLanguageModel, abstract_params
from vlp_jax.parallel import make_mesh, shardings_for, unbox
from vlp_jax.training.checkpoint import read_run
from vlp_jax.training.experiment import assemble
from vlp_jax.training.loop import train
from vlp_jax.weights.conversion import layers_apart
from vlp_jax.weights.initial import Initialisation, initial_weights, read_initial_weights
from vlp_jax.weights.interpolation import resize_position_grid
from vlp_jax.weights.safetensors_file import write_directory, write_safetensors

BLOCK = dict(heads=HEADS, mlp_width=MLP, dropout=0.0, attention_dropout=0.0)
VOCABULARY = Vocabulary(Tokenizer.from_vocab([*SPECIAL_TOKENS, *"abcdef"]), ())
# ALBEF's shape: one BERT in the text encoder and, with cross-attention, in the fusion.
MODEL = dict(
    vision_args=dict(image_size=12, patch_size=4, width=WIDTH, layers=1, **BLOCK),
    text_args=dict(vocab_size=WORDS, width=WIDTH, layers=2, max_length=LENGTH, **BLOCK),
    fusion_args=dict(layers=2, **BLOCK),
    heads=dict(itc=dict(width=4), itm={}, mlm={}),
)


def experiment(*entries, **model) -> ExperimentConfig:
    values = {"model": MODEL | model, "init_from": entries}
    return build(ExperimentConfig, values, "config")


def read(*entries, **model):
    return read_for(experiment(*entries, **model))


def read_for(config: ExperimentConfig) -> Initialisation:
    model = build_model(config.model)
    return read_initial_weights(config, model, unbox(abstract_params(model)), VOCABULARY, read_run)


def fresh_params(config: ModelConfig, mesh=None):
    """Returns a function that draws the same parameters at every call."""
    abstract = abstract_params(build_model(config))
    shardings, _ = shardings_for(abstract, mesh or make_mesh(devices=jax.devices()[:1]))
    params = random_like(unbox(abstract), np.random.default_rng())
    return lambda: jax.device_put(params, shardings)


def on_host(params) -> dict[str, np.ndarray]:
    return layers_apart(jax.device_get(params))


def fill(*entries, **model):
    """Returns parameters before and after, by path, and the news."""
    config = experiment(*entries, **model)
    params = fresh_params(config.model)()
    before, given = on_host(params), read_for(config)
    after, teacher = given.fill(params)
    assert teacher is None
    return before, on_host(after), given.news


def changed(before: dict, after: dict) -> set[str]:
    return {path for path in before if not np.array_equal(before[path], after[path])}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A BERT of five layers: two for the text, two for the fusion, one too many."""
    folder, file = tmp_path_factory.mktemp("weights") / "bert", bert_file(5)
    write_directory(folder, file, BERT_CONFIG | {"num_hidden_layers": 5})
    return str(folder), file


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A ViT for 20 pixels, whose positions the model's 12 pixels need resized."""
    folder, file = tmp_path_factory.mktemp("weights") / "vit", vit_file(1, grid=5, patch=4)
    write_directory(folder, file, VIT_CONFIG)
    return str(folder), file


def test_a_bert_fills_the_text_encoder_and_goes_on_in_the_fusion(bert):
    path, file = bert
    before, after, news = fill({"path": path})
    fresh = before.keys() - changed(before, after)
    groups = ("vision/", "heads_itc/", "heads_itm/", "fusion/layer_0/cross", "fusion/layer_1/cross")
    assert fresh == {p for p in before if p.startswith(groups)}
    expand = "bert.encoder.layer.{}.intermediate.dense.weight"
    for ours, theirs in (("text/layer_1", 1), ("fusion/layer_0", 2), ("fusion/layer_1", 3)):
        kernel = after[f"{ours}/feed_forward/expand/kernel"]
        np.testing.assert_array_equal(kernel, file[expand.format(theirs)].T)
    np.testing.assert_array_equal(after["heads_mlm/bias"], file["cls.predictions.bias"])
    assert "parameters from bert weights" in news[0]
    assert "unused of the file: bert.encoder.layer.4 (16), bert.pooler (2)" in news[0]
    assert "vision (" in news[1] and "fusion/layer_*/cross_attention (20)" in news[1]


def test_the_text_encoder_then_computes_what_bert_does(bert):
    path, file = bert
    config = experiment({"path": path, "kind": "bert"})
    model = build_model(config.model)
    params, _ = read_for(config).fill(fresh_params(config.model)())
    ids = np.random.default_rng().integers(0, WORDS, (2, 6)).astype(np.int32)
    encode = jax.jit(
        lambda params: model.apply(
            {"params": params}, ids, ids >= 0, method=VisionLanguageModel.encode_text
        )
    )
    with jax.default_matmul_precision("highest"):
        states = encode(params).states
    np.testing.assert_allclose(states, bert_states(file, 2, ids), atol=2e-5)


def test_a_vit_fills_the_vision_encoder_with_resized_positions(vit):
    path, file = vit
    before, after, _ = fill({"path": path})
    assert changed(before, after) == {p for p in before if p.startswith("vision/")}
    positions = resize_position_grid(file["embeddings.position_embeddings"][0], 5, 3)
    np.testing.assert_array_equal(after["vision/positions"][0], positions)


def test_entries_are_applied_in_order_and_together(bert, vit, tmp_path):
    other = bert_file(5)
    write_safetensors(tmp_path / "other.safetensors", other)
    second = {"path": str(tmp_path / "other.safetensors"), "include": ["text/word"]}
    before, after, news = fill({"path": bert[0]}, {"path": vit[0]}, second)
    word = "bert.embeddings.word_embeddings.weight"
    np.testing.assert_array_equal(after["text/word/table"], other[word])
    np.testing.assert_array_equal(
        after["text/type/table"], bert[1]["bert.embeddings.token_type_embeddings.weight"]
    )
    assert not any(path.startswith("vision/") for path in before.keys() - changed(before, after))
    assert len(news) == 4
    assert news[-1].startswith("init_from: freshly drawn are fusion/layer_*/cross_attention (")


def test_parameters_and_teacher_keep_their_shardings(bert, devices8):
    config = experiment({"path": bert[0]})
    mesh = make_mesh(data=2, fsdp=2, tensor=2, devices=devices8)
    draw = fresh_params(config.model, mesh)
    params, teacher = draw(), draw()
    shardings = jax.tree.map(lambda x: x.sharding, params)
    old = params["text"]["word"]["table"]
    params, teacher = read_for(config).fill(params, teacher)
    assert jax.tree.map(lambda x: x.sharding, params) == shardings
    assert jax.tree.map(lambda x: x.sharding, teacher) == shardings
    kernel = params["text"]["layers"]["feed_forward"]["expand"]["kernel"]
    assert not kernel.is_fully_replicated and old.is_deleted()
    theirs = bert[1]["bert.encoder.layer.0.intermediate.dense.weight"].T
    np.testing.assert_array_equal(kernel[0], theirs)
    jax.tree.map(np.testing.assert_array_equal, params, teacher)


def test_without_entries_the_parameters_are_left_alone():
    params, teacher = fresh_params(experiment().model)(), {}
    given = read()
    found = given.fill(params, teacher)
    assert found[0] is params and found[1] is teacher and given.news == ()


def test_include_and_exclude_choose_parameters(bert):
    entry = {"path": bert[0], "include": ["text/layer_", "heads_mlm"], "exclude": ["norm/"]}
    before, after, _ = fill(entry)
    included = {p for p in before if p.startswith(("text/layer_", "heads_mlm"))}
    expected = {p for p in included if "norm/" not in p}
    assert changed(before, after) == expected


def test_rename_sends_weights_elsewhere(bert):
    rename = [["^text/layer_0/", "fusion/layer_1/"]]
    entry = {"path": bert[0], "rename": rename, "include": ["fusion/layer_1/self_attention"]}
    with pytest.raises(ValueError, match=r"several tensors to fusion/layer_1 \(16\)"):
        read(entry)
    before, after, _ = fill(entry | {"rename": [["^fusion/layer_1/", "nowhere/"], *rename]})
    paths = {p for p in before if p.startswith("fusion/layer_1/self_attention")}
    assert changed(before, after) == paths
    bias = bert[1]["bert.encoder.layer.0.attention.output.dense.bias"]
    np.testing.assert_array_equal(
        after["fusion/layer_1/self_attention/attention/output/bias"], bias
    )


def test_missing_parameters_are_an_error_or_stay_fresh(bert):
    deeper = MODEL["text_args"] | {"layers": 6}
    with pytest.raises(ValueError, match=r"lacks 16 of the .*: text/layer_5 \(16\)\. Name"):
        read({"path": bert[0]}, text_args=deeper)
    before, after, _ = fill({"path": bert[0], "on_missing": "keep"}, text_args=deeper)
    fresh = before.keys() - changed(before, after)
    assert {p for p in fresh if p.startswith("text/")} == {
        p for p in before if p.startswith("text/layer_5/")
    }
    read({"path": bert[0], "exclude": ["text/layer_5"]}, text_args=deeper)


def test_another_vocabulary_is_named_with_its_cure(bert):
    more = MODEL["text_args"] | {"vocab_size": WORDS + 1}
    with pytest.raises(ValueError) as error:
        read({"path": bert[0]}, text_args=more)
    message = str(error.value)
    assert f"the file has ({WORDS}, {WIDTH}), the model ({WORDS + 1}, {WIDTH})" in message
    assert "text_args.vocab_size" in message and "config.data.vocabulary" in message
    read({"path": bert[0], "exclude": ["text/word", "heads_mlm/bias"]}, text_args=more)


def test_fewer_positions_are_cut_and_more_are_an_error(bert):
    shorter = MODEL["text_args"] | {"max_length": 4}
    _, after, _ = fill({"path": bert[0]}, text_args=shorter)
    table = bert[1]["bert.embeddings.position_embeddings.weight"]
    np.testing.assert_array_equal(after["text/position/table"], table[:4])
    with pytest.raises(ValueError, match="text_args.max_length"):
        read({"path": bert[0]}, text_args=MODEL["text_args"] | {"max_length": LENGTH + 1})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, r"config.init_from\[0\].path is missing"),
        ({"kind": "brt"}, r'unknown kind "brt". Did you mean "bert"\? Known: auto, run, bert,'),
        ({"kind": "visualbrt"}, 'Did you mean "visualbert"'),
        ({"includ": ["text"]}, r"init_from\[0\].includ: no such field. Did you mean \"include\""),
        ({"on_missing": "kep"}, 'Did you mean "keep"'),
        ({"include": ["txt/"]}, '"txt/" matches no parameter of the model.* text'),
        ({"exclude": ["txt/"]}, '"txt/" matches no parameter of the model'),
        ({"include": ["text/("]}, "is no regular expression"),
        ({"rename": [["txt", "text"]]}, 'rename "txt" matches no parameter that these'),
        ({"rename": [["text", r"\2"]]}, "rename to"),
        ({"include": ["vision"]}, r"bert weights fill none of .*; theirs are fusion \(32\), h"),
        ({"kind": "vit"}, "expected the patch projection of one ViT"),
        ({"kind": "resnet"}, 'resnet weights are for config.model.vision = "resnet"; it is "vit"'),
    ],
)
def test_mistakes_are_named(bert, entry, message):
    values = {"path": bert[0]} | entry if entry else {}
    with pytest.raises(ValueError, match=message):
        read(values)


def test_a_path_that_does_not_exist_is_named(bert):
    with pytest.raises(FileNotFoundError, match=r'init_from\[0\].*Did you mean "bert"'):
        read({"path": bert[0] + "t"})


def tiny_run(path: str, steps: int) -> ExperimentConfig:
    """A run that learns nothing, so that its parameters are those that it starts with."""
    values = dict(
        model=dict(
            vision_args=MODEL["vision_args"] | {"image_size": 16},
            text_args=dict(width=WIDTH, layers=1, max_length=LENGTH, **BLOCK),
            fusion_args=dict(layers=1, **BLOCK),
            heads=dict(mlm={}),
        ),
        init_from=[{"path": path, "include": ["layer_"], "exclude": ["cross_attention"]}],
        data=dict(
            source_args=dict(emoji_scenes=dict(concepts=12, size=16)),
            image_size=16,
            batch_size=8,
            text_length=LENGTH,
            vocabulary="fit",
        ),
        tasks=dict(mlm={}),
        optimizer=dict(learning_rate=0.0, weight_decay=0.0),
        training=dict(steps=steps),
    )
    return build(ExperimentConfig, values, "config")


@pytest.mark.slow
def test_a_run_starts_from_the_weights_and_resumes_without_them(bert, tmp_path, capsys):
    first = train(tiny_run(bert[0], steps=1), tmp_path)
    kernel = first.state.params["text"]["layers"]["feed_forward"]["expand"]["kernel"][0]
    theirs = bert[1]["bert.encoder.layer.0.intermediate.dense.weight"].T
    np.testing.assert_array_equal(kernel, theirs)
    assert "init_from[0]: " in capsys.readouterr().err
    again = train(tiny_run("gone", steps=2), tmp_path)
    assert again.step == 2
    kernel = again.state.params["text"]["layers"]["feed_forward"]["expand"]["kernel"][0]
    np.testing.assert_array_equal(kernel, theirs)
    assert "init_from" not in capsys.readouterr().err
    _check_fine_tuning(tmp_path, again)


def _check_fine_tuning(workdir, run):
    """Another run starts from this one's folder, with its words, on scenes of more concepts."""
    values = to_plain(tiny_run("", steps=1)) | {"init_from": str(workdir)}
    values["data"]["vocabulary"] = str(workdir)
    values["data"]["source_args"]["emoji_scenes"]["concepts"] = 20
    found = assemble(build(ExperimentConfig, values, "config"))
    given = read_initial_weights(
        found.config, found.model, unbox(found.boxed), found.vocabulary, read_run
    )
    assert given.news[-1] == "init_from: freshly drawn are none"
    assert found.vocabulary.tokenizer.to_json() == run.experiment.vocabulary.tokenizer.to_json()


@pytest.mark.parametrize("given", ["runs/a", {"path": "runs/a"}, ["runs/a"], [{"path": "runs/a"}]])
def test_one_entry_needs_no_list_and_a_path_no_group(given):
    config = build(ExperimentConfig, {"init_from": given}, "config")
    assert [entry.path for entry in initial_weights(config.init_from)] == ["runs/a"]
    shell = load_config(str(CONFIG), [f"--config.init_from={given}"])
    assert shell.init_from == config.init_from
