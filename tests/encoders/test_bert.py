"""Tests of the text encoder: embeddings, masks, tables and what is refused."""

import jax
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import TEXT, random_variables
from vlp_jax.encoders.bert import BertEncoder

ARGS = TEXT["bert"]
IDS = np.array([[2, 5, 7, 0], [2, 9, 0, 0]], np.int32)
MASK = IDS > 0


def test_the_whole_against_float64():
    rng = np.random.default_rng()
    module = BertEncoder(**ARGS)
    segments = np.array([[0, 0, 1, 1], [0, 1, 1, 0]], np.int32)
    variables = random_variables(module, rng, IDS, MASK, segments)
    tokens = jax.jit(module.apply)(variables, IDS, MASK, segments)
    p = variables["params"]
    table = {name: p[name]["table"].astype(np.float64) for name in ("word", "position", "type")}
    states = table["word"][IDS] + table["position"][:4] + table["type"][segments]
    states = slow.layer_norm(p["norm"], states, 1e-12)
    exact = slow.bert_layer(slow.layer(p["layers"], 0), states, slow.sees(4, MASK))
    np.testing.assert_allclose(tokens.states, exact, atol=2e-5)
    np.testing.assert_array_equal(tokens.mask, MASK)


@pytest.fixture(scope="module")
def encode():
    """Only the embeddings: (variables, function of ids, mask, segments, tasks)."""
    module = BertEncoder(**ARGS | dict(layers=0, tasks=3, task=1))
    variables = random_variables(module, np.random.default_rng(), IDS, MASK)

    def run(ids=IDS, mask=MASK, segments=None, tasks=None):
        return module.apply(variables, ids, mask, segments, tasks=tasks)

    return variables, run


def test_segments_are_zero_by_default(encode):
    _, run = encode
    np.testing.assert_array_equal(run().states, run(segments=np.zeros_like(IDS)).states)
    assert np.abs(run().states - run(segments=np.ones_like(IDS)).states).max() > 1e-3


def test_the_task_token_follows_the_first(encode):
    variables, run = encode
    tokens = run(tasks=np.array([0, 2]))
    assert tokens.states.shape == (2, 5, 16)
    np.testing.assert_array_equal(tokens.mask, [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    p = variables["params"]
    exact = slow.layer_norm(p["norm"], p["task_token"]["table"][[0, 2]], 1e-12)
    np.testing.assert_allclose(tokens.states[:, 1], exact, atol=1e-5)
    np.testing.assert_array_equal(run().states, run(tasks=np.array([1, 1])).states)


def shapes(ids=IDS, **changes):
    module = BertEncoder(**ARGS | changes)
    init = lambda: module.init_with_output(jax.random.key(0), ids, np.ones_like(ids, bool))
    tokens, variables = jax.eval_shape(init)
    return tokens, variables["params"]


def test_a_task_that_does_not_exist():
    with pytest.raises(ValueError, match="text_args.task = 3: expected 0 to 2"):
        shapes(tasks=3, task=3)


def test_a_text_that_is_too_long():
    with pytest.raises(ValueError) as error:
        shapes(np.ones((1, 9), np.int32))
    assert "9 tokens exceeds the 8 positions" in str(error.value)
    assert "config.model.text_args.max_length" in str(error.value)


@pytest.mark.parametrize(
    "frozen", [(), ("word",), ("position", "type"), ("word", "position", "type")]
)
def test_rows_that_look_ups_do_not_train(frozen):
    module = BertEncoder(**ARGS | dict(layers=0, embedding_norm=False, frozen_first_rows=frozen))
    variables = random_variables(module, np.random.default_rng(), IDS, MASK)
    gradient = jax.grad(lambda v: module.apply(v, IDS, MASK).states.sum())(variables)["params"]
    trained = {name for name in ("word", "position", "type") if gradient[name]["table"][0].any()}
    assert trained == {"word", "position", "type"} - set(frozen)
    assert gradient["word"]["table"][5].all()


def test_without_its_own_normalisation():
    assert "norm" not in shapes(embedding_norm=False)[1]
    assert set(shapes(layers=2)[1]) == {"word", "position", "type", "norm", "layers"}


def test_tables():
    module = BertEncoder(**ARGS | dict(layers=0))
    variables = random_variables(module, np.random.default_rng(), IDS, MASK)
    for name in ("word", "position", "type"):
        table = module.apply(variables, method=f"{name}_table")
        np.testing.assert_array_equal(table, variables["params"][name]["table"])


def test_computes_in_its_dtype():
    tokens, params = shapes(dtype="bfloat16")
    assert tokens.states.dtype == "bfloat16"
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}
