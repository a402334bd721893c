"""Key tables: every kind of entry, both directions, and the errors of files that do not fit."""

import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.weights.conversion import (
    count_parameters,
    published_shapes,
    to_params,
    to_published,
)
from vlp_jax.weights.key_groups import bert_embeddings, bert_layer, mlm_head, vit_block
from vlp_jax.weights.key_table import (
    embedding,
    fused_qkv,
    key_table,
    linear,
    merge_heads,
    norm,
    patch_conv,
    raw,
    split_heads,
)

HEADS = 2
SMALL = key_table(
    linear("fc", "fc"),
    norm("ln", "ln"),
    embedding("words", "word", tied=["decoder.weight"]),
    unmodelled=[r".*\.position_ids", r"\w+_m\..*"],
)


def small_state():
    rng = np.random.default_rng()
    draw = lambda *shape: rng.standard_normal(shape, np.float32)
    words = draw(5, 3)
    return {
        "fc.weight": draw(4, 3),
        "fc.bias": draw(4),
        "ln.weight": draw(4),
        "ln.bias": draw(4),
        "words.weight": words,
        "decoder.weight": words.copy(),
        "embeddings.position_ids": np.arange(5)[None],
    }


def small_shapes():
    return to_params(small_state(), SMALL)


def assert_same(given, expected):
    assert list(given) == list(expected)
    for name, array in expected.items():
        assert given[name].dtype == array.dtype, name
        np.testing.assert_array_equal(given[name], array, err_msg=name)


def test_linear_weight_is_transposed_and_bias_is_not():
    params = to_params(
        {"a.weight": np.array([[1, 2, 3], [4, 5, 6]]), "a.bias": np.array([7, 8])},
        key_table(linear("a", "b")),
    )
    np.testing.assert_array_equal(params["b"]["kernel"], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(params["b"]["bias"], [7, 8])
    assert params["b"]["kernel"].dtype == np.float32


def test_split_heads_gives_each_head_contiguous_outputs():
    weight = np.arange(12.0).reshape(4, 3)
    state = {"q.weight": weight, "q.bias": np.arange(4.0)}
    params = to_params(state, key_table(split_heads("q", "q", heads=2)))["q"]
    assert params["kernel"].shape == (3, 2, 2)
    np.testing.assert_array_equal(params["kernel"][:, 1, 0], weight[2])
    np.testing.assert_array_equal(params["bias"], [[0, 1], [2, 3]])


def test_merge_heads_reads_each_head_from_contiguous_inputs():
    weight = np.arange(12.0).reshape(3, 4)
    state = {"o.weight": weight, "o.bias": np.arange(3.0)}
    kernel = to_params(state, key_table(merge_heads("o", "o", heads=2)))["o"]["kernel"]
    assert kernel.shape == (2, 2, 3)
    np.testing.assert_array_equal(kernel[1, 0], weight[:, 2])


def test_fused_qkv_rows_are_query_key_value():
    weight = np.arange(24.0).reshape(6, 4)
    state = {"attn.qkv.weight": weight, "attn.qkv.bias": np.arange(6.0)}
    params = to_params(state, key_table(fused_qkv("attn.qkv.", "attn", heads=2)))["attn"]
    np.testing.assert_array_equal(params["key"]["kernel"][:, 0, 0], weight[2])
    np.testing.assert_array_equal(params["value"]["bias"], [[4], [5]])


def test_patch_conv_equals_the_convolution():
    from vlp_jax.encoders.vit import patchify

    rng = np.random.default_rng()
    weight, image = rng.standard_normal((7, 3, 2, 2)), rng.standard_normal((1, 3, 4, 4))
    state = {"proj.weight": weight, "proj.bias": np.zeros(7)}
    kernel = to_params(state, key_table(patch_conv("proj", "p", patch=2)))["p"]["kernel"]
    patches = np.asarray(patchify(image.transpose(0, 2, 3, 1), 2))[0]
    expected = np.einsum("ocyx,cyx->o", weight, image[0, :, 2:4, 0:2])
    np.testing.assert_allclose(patches[2] @ kernel, expected, rtol=1e-5)


@given(
    heads=st.integers(1, 3),
    size=st.integers(1, 4),
    patch=st.integers(1, 3),
    vocabulary=st.integers(1, 9),
    half=st.booleans(),
)
def test_any_table_is_bit_equal_after_a_round_trip(heads, size, patch, vocabulary, half):
    width = heads * size
    table = key_table(
        bert_embeddings("bert.embeddings", "text", tied=["cls.decoder.weight"]),
        [bert_layer(f"bert.layer.{i + 3}", f"text/layer_{i}", heads, cross="x") for i in range(2)],
        vit_block("vit.0", "vision/layer_0", heads),
        mlm_head("cls", "heads_mlm"),
        patch_conv("vit.proj", "vision/patch_embedding", patch),
        raw("temp", "heads_itc/temperature"),
        unmodelled=["queue"],
    )
    state = random_state(table, width, patch, vocabulary, np.float16 if half else np.float32)
    params = to_params(state, table)
    assert all(leaf.dtype == np.float32 for leaf in flatten_dict(params).values())
    assert_same(to_published(params, table, like=state), state)
    assert published_shapes(params, table) == {
        name: state[name].shape for name in state if name != "queue"
    }


def random_state(table, width, patch, vocabulary, dtype):
    """Random tensors for every name of a table, sized by what the name says."""
    rng, state = np.random.default_rng(), {}
    for entry in table.entries:
        name = entry.published[0]
        shape = (width, width) if name.endswith("weight") else (width,)
        if "orm" in name:
            shape = (width,)
        if "qkv" in name:
            shape = (3 * width, *shape[1:])
        if "embeddings.weight" in name:
            shape = (vocabulary, width)
        if name in ("temp", "vit.proj.weight", "cls.bias"):
            shape = {"temp": (), "cls.bias": (vocabulary,)}.get(name, (width, 3, patch, patch))
        state |= dict.fromkeys(entry.published, rng.standard_normal(shape).astype(dtype))
    if "temp" in state:
        state["temp"] = abs(state["temp"]) + np.ones((), dtype)
    return state | {"queue": rng.integers(0, 9, (2, 2))}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_named(value):
    state = small_state()
    state["fc.weight"][1, 2] = value
    with pytest.raises(ValueError, match=r"fc.weight: 1 of 12 are NaN or infinite"):
        to_params(state, SMALL)


@pytest.mark.parametrize("value", [0.0, -0.07])
@pytest.mark.parametrize("path", ["heads_itc/temperature", "vision/stem/norm/variance"])
def test_what_is_divided_by_is_above_zero(path, value):
    with pytest.raises(ValueError, match=rf"x: {value:g}, must be above 0"):
        to_params({"x": np.float32(value)}, key_table(raw("x", path)))


def test_a_float32_file_is_not_copied():
    state = small_state()
    params = to_params(state, SMALL)
    assert np.shares_memory(params["fc"]["kernel"], state["fc.weight"])


def test_either_name_of_a_tied_tensor_will_do_and_all_are_written():
    state = small_state()
    words = state.pop("words.weight")
    params = to_params(state, SMALL)
    np.testing.assert_array_equal(params["word"]["table"], words)
    written = to_published(params, SMALL)
    np.testing.assert_array_equal(written["words.weight"], written["decoder.weight"])
    assert_same(to_published(params, SMALL, like=state), state)


def test_tied_tensors_that_differ_are_an_error():
    state = small_state()
    state["decoder.weight"][0, 0] += 1
    with pytest.raises(ValueError, match="words.weight and decoder.weight"):
        to_params(state, SMALL)


def test_absent_and_present_unmodelled_names_are_fine():
    state = small_state() | {"fc_m.weight": np.zeros((9, 9))}
    assert "fc_m" not in to_params(state, SMALL)
    del state["embeddings.position_ids"]
    to_params(state, SMALL)


def test_missing_and_unknown_names_come_in_one_error_with_shapes_and_nearest_names():
    state = small_state()
    state["fc.wieght"] = state.pop("fc.weight")
    state["encoder.layer.7.bias"] = np.zeros(3)
    with pytest.raises(ValueError) as error:
        to_params(state, SMALL)
    message = str(error.value)
    assert 'fc.weight Did you mean "fc.wieght"?' in message
    assert 'fc.wieght (4, 3) Did you mean "fc.weight"?' in message
    assert "encoder.layer (1):\n    encoder.layer.7.bias (3,)" in message


def test_many_unknown_names_are_grouped_and_shortened():
    state = small_state() | {f"extra.{i}.weight": np.zeros(1) for i in range(50)}
    with pytest.raises(ValueError, match=r"50 tensors(.|\n)*extra \(50\)(.|\n)*44 more") as error:
        to_params(state, SMALL)
    assert len(str(error.value).splitlines()) < 15


def test_a_wrong_shape_names_both_shapes_and_the_config_field():
    table = key_table(embedding("words", "text/word"))
    shapes = {"text": {"word": {"table": np.zeros((5, 3))}}}
    with pytest.raises(ValueError, match=r"\(6, 3\).*\(5, 3\).*config.model.text_args.vocab_size"):
        to_params({"words.weight": np.zeros((6, 3))}, table, shapes)


def test_a_parameter_that_the_table_forgets_is_an_error():
    shapes = small_shapes() | {"pooler": {"dense": {"kernel": np.zeros((2, 2))}}}
    with pytest.raises(ValueError, match=r"pooler/dense/kernel \(2, 2\)"):
        to_params(small_state(), SMALL, shapes)


@pytest.mark.parametrize("kind, second", [("published", "c"), ("ours", "b")])
def test_a_table_that_is_no_bijection_is_an_error(kind, second):
    entries = {"published": [raw("a", "b"), raw("a", "c")], "ours": [raw("a", "b"), raw("c", "b")]}
    with pytest.raises(ValueError, match=f"{kind} "):
        key_table(entries[kind])


def test_gradients_take_the_same_way_back():
    state = small_state()
    params = to_params(state, SMALL)
    double = to_published(
        {
            "fc": {k: 2 * v for k, v in params["fc"].items()},
            "ln": params["ln"],
            "word": params["word"],
        },
        SMALL,
    )
    np.testing.assert_array_equal(double["fc.weight"], 2 * state["fc.weight"])


def test_renamed_reads_the_momentum_copy_of_what_it_matches():
    table = SMALL.renamed(r"^fc\.", "fc_m.")
    state = small_state() | {"fc_m.weight": np.ones((4, 3)), "fc_m.bias": np.zeros(4)}
    params = to_params(state, table)
    assert list(params) == ["fc"] and params["fc"]["kernel"].sum() == 12


def test_tied_tensors_count_once():
    assert count_parameters(to_params(small_state(), SMALL)) == 4 * 3 + 4 + 4 + 4 + 5 * 3
