"""Weights, a tokenizer and a Hugging Face directory in a bucket are read as those on a disk."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.weights.state_dict import read_state_dict

pytestmark = pytest.mark.slow  # where gcsfs is installed

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b.bias": np.ones(4, np.int32)}


@pytest.mark.parametrize("name", ["one.safetensors", "folder"])
def test_arrays_of_a_bucket(cloud, name):
    cloud.put("here", "weights/one.safetensors", save(ARRAYS))
    cloud.put("here", "weights/folder/model.safetensors", save(ARRAYS))
    cloud.put("here", "weights/folder/config.json", json.dumps({"model_type": "bert"}).encode())
    state = read_state_dict(f"gs://here/weights/{name}")
    assert state.keys() == ARRAYS.keys()
    assert all(np.array_equal(state[key], value) for key, value in ARRAYS.items())
    assert state.meta.config == ({"model_type": "bert"} if name == "folder" else {})
    with pytest.raises(ValueError, match="read-only"):
        state["a.weight"][0] = 0


def test_a_missing_or_empty_file_is_named(cloud):
    cloud.put("here", "weights/one.safetensors", save(ARRAYS))
    cloud.put("here", "weights/none.pth", b"")
    with pytest.raises(FileNotFoundError, match='Did you mean "one.safetensors"?'):
        read_state_dict("gs://here/weights/on.safetensors")
    with pytest.raises(ValueError, match="gs://here/weights/none.pth is empty; expected a checkpo"):
        read_state_dict("gs://here/weights/none.pth")


def test_a_tokenizer_comes_back(cloud):
    tokenizer = Tokenizer.fit(["a red cat", "a blue dog"])
    tokenizer.save("gs://here/words")
    assert {"words/tokenizer.json", "words/vocab.txt"} <= cloud.buckets["here"].keys()
    for found in (
        Tokenizer.from_directory("gs://here/words"),
        Tokenizer.from_vocab_file("gs://here/words/vocab.txt"),
    ):
        assert found.piece_ids("a blue cat") == tokenizer.piece_ids("a blue cat")
