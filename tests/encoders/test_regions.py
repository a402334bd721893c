"""Tests of the region encoder: box encodings, each option, and alignment with words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import FEATURES, VISION, random_variables
from vlp_jax.encoders.bert import BertEncoder
from vlp_jax.encoders.regions import (
    BOX_ENCODINGS,
    RegionEncoder,
    aligned_positions,
    encode_boxes,
)

BOX = [0.25, 0.5, 0.75, 1.0]
ARGS = VISION["regions"] | dict(boxes="none", output_norm=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", []),
        ("corners", BOX),
        ("corners_area", [*BOX, 0.25]),
        ("corners_size", [*BOX, 0.5, 0.5]),
        ("corners_size_area", [*BOX, 0.5, 0.5, 0.25]),
    ],
)
def test_box_encodings(name, expected):
    encoded = encode_boxes(np.array([[BOX]], np.float32), name)
    np.testing.assert_allclose(encoded, [[expected]], rtol=1e-6)
    assert BOX_ENCODINGS[name][0] == len(expected)


def test_encoded_boxes_pass_as_they_are():
    given = np.random.default_rng().normal(size=(1, 2, 7)).astype(np.float32)
    np.testing.assert_array_equal(encode_boxes(given, "corners_size_area"), given)


def test_boxes_of_another_width():
    message = r'region_boxes have 5 numbers; box encoding "corners_size" takes 4 or 6'
    with pytest.raises(ValueError, match=message):
        encode_boxes(np.zeros((1, 2, 5)), "corners_size")


def test_an_unknown_box_encoding():
    with pytest.raises(ValueError) as error:
        encode_boxes(np.zeros((1, 2, 4)), "corner_area")
    assert str(error.value).startswith(
        'config.model.vision_args.boxes: unknown box encoding "corner_area". '
        'Did you mean "corners_area"? Known: corners, '
    )


def batch(rng):
    return {
        "region_features": rng.normal(size=(2, 3, FEATURES)).astype(np.float32),
        "region_boxes": rng.random((2, 3, 4)).astype(np.float32),
        "region_mask": np.array([[True, True, False], [True, True, True]]),
    }


def encode(rng, fields, text=None, **changes):
    """Returns (parameters, output) of the embedding layer."""
    module = RegionEncoder(**ARGS | changes)
    variables = random_variables(module, rng, fields, text_encoder=text)
    return variables["params"], module.apply(variables, fields, text_encoder=text)


@pytest.fixture
def rng():
    return np.random.default_rng()


def test_features_alone(rng):
    fields = batch(rng)
    p, tokens = encode(rng, fields)
    assert set(p) == {"feature_projection"}
    exact = slow.linear(p["feature_projection"], fields["region_features"])
    np.testing.assert_allclose(tokens.states, exact, atol=1e-5)
    np.testing.assert_array_equal(tokens.mask, fields["region_mask"])


@pytest.mark.parametrize("average", [False, True])
def test_features_and_boxes_each_projected_and_normalised(rng, average):
    fields = batch(rng)
    p, tokens = encode(
        rng, fields, boxes="corners", feature_norm=True, box_norm=True, average=average
    )
    parts = [
        slow.layer_norm(p[f"{n}_norm"], slow.linear(p[f"{n}_projection"], fields[key]), 1e-12)
        for n, key in (("feature", "region_features"), ("box", "region_boxes"))
    ]
    exact = sum(parts) / (2 if average else 1)
    np.testing.assert_allclose(tokens.states, exact, atol=2e-5)


def test_boxes_joined_to_features(rng):
    fields = batch(rng)
    p, tokens = encode(rng, fields, boxes="corners", boxes_joined=True, output_norm=True)
    joined = np.concatenate([fields["region_features"], fields["region_boxes"]], -1)
    projected = slow.linear(p["feature_projection"], joined)
    exact = slow.layer_norm(p["norm"], projected, 1e-12)
    np.testing.assert_allclose(tokens.states, exact, atol=2e-5)
    assert set(p) == {"feature_projection", "norm"}


def test_types_and_position_zero(rng):
    fields = batch(rng)
    p, tokens = encode(rng, fields, types=3, default_type=2, positions=4)
    plain = slow.linear(p["feature_projection"], fields["region_features"])
    exact = plain + p["type"]["table"][2] + p["position"]["table"][0]
    np.testing.assert_allclose(tokens.states, exact, atol=1e-5)


def test_types_of_the_batch(rng):
    types = np.array([[0, 1, 2], [2, 0, 1]], np.int32)
    fields = batch(rng) | {"region_types": types}
    p, tokens = encode(rng, fields, types=3)
    plain = slow.linear(p["feature_projection"], fields["region_features"])
    np.testing.assert_allclose(tokens.states, plain + p["type"]["table"][types], atol=1e-5)


def test_hidden_regions_get_the_mask_embedding(rng):
    hidden = np.array([[1.0, 0, 0], [0, 1, 1]], np.float32)
    fields = batch(rng) | {"region_hidden": hidden}
    p, tokens = encode(rng, fields, mask_embedding=True)
    features = fields["region_features"] + hidden[..., None] * p["mask_embedding"][1]
    exact = slow.linear(p["feature_projection"], features)
    np.testing.assert_allclose(tokens.states, exact, atol=1e-5)


def text_encoder(rng):
    module = BertEncoder(vocab_size=5, width=16, layers=0, max_length=6, types=2)
    ids = np.ones((1, 2), np.int32)
    return module.bind(random_variables(module, rng, ids, ids > 0))


def test_the_type_row_of_the_text_encoder(rng):
    fields, text = batch(rng), text_encoder(rng)
    p, tokens = encode(rng, fields, text, text_type=1)
    exact = slow.linear(p["feature_projection"], fields["region_features"]) + text.type_table()[1]
    np.testing.assert_allclose(tokens.states, exact, atol=1e-5)


def test_aligned_words_lend_their_positions(rng):
    alignment = np.array([[[1, 3], [2, -1], [-1, -1], [5, 5]]] * 2, np.int32)
    fields, text = batch(rng) | {"region_alignment": alignment}, text_encoder(rng)
    p, tokens = encode(rng, fields, text, positions=2)
    table = np.asarray(text.position_table())
    lent = np.stack([(table[1] + table[3]) / 2, table[2], np.zeros(16)])
    plain = slow.linear(p["feature_projection"], fields["region_features"])
    exact = plain + p["position"]["table"][0] + lent
    np.testing.assert_allclose(tokens.states, exact, atol=1e-5)


def test_alignment_for_too_few_regions(rng):
    fields = batch(rng) | {"region_alignment": np.zeros((2, 2, 1), np.int32)}
    with pytest.raises(ValueError, match="region_alignment has 2 rows for 3 regions"):
        encode(rng, fields, text_encoder(rng), positions=2)


def test_no_aligned_word_gives_zero():
    alignment = np.full((1, 2, 3), -1, np.int32)
    assert not aligned_positions(alignment, jnp.ones((4, 5))).any()


def test_features_of_another_width(rng):
    fields = batch(rng) | {"region_features": np.zeros((2, 3, 9), np.float32)}
    message = r"9 wide and the vision encoder takes 6 \(config.model.vision_args.feature_width\)"
    with pytest.raises(ValueError, match=message):
        encode(rng, fields)


@pytest.mark.parametrize(
    ("changes", "shares"), [({}, False), ({"text_type": 0}, True), ({"positions": 2}, True)]
)
def test_shares_text_tables(changes, shares):
    assert RegionEncoder(**ARGS | changes).shares_text_tables is shares


def test_feature_table_is_the_projection(rng):
    fields = batch(rng)
    module = RegionEncoder(**ARGS)
    variables = random_variables(module, rng, fields)
    table = module.apply(variables, method="feature_table")
    np.testing.assert_array_equal(table, variables["params"]["feature_projection"]["kernel"])


@pytest.mark.parametrize(("dropout", "draws"), [(None, 0.5), (0.0, 0.0), (0.5, 0.5)])
def test_embedding_dropout_is_that_of_the_layers_by_default(rng, dropout, draws):
    fields = batch(rng)
    module = RegionEncoder(**ARGS | dict(dropout=0.5, embedding_dropout=dropout))
    variables = random_variables(module, rng, fields)
    key = {"dropout": jax.random.key(1)}
    states = module.apply(variables, fields, deterministic=False, rngs=key).states
    assert bool((states == 0).any()) == bool(draws)


def test_computes_in_its_dtype():
    module = RegionEncoder(**VISION["regions"] | dict(layers=1, dtype="bfloat16"))
    init = lambda: module.init_with_output(jax.random.key(0), batch(np.random.default_rng()))
    tokens, variables = jax.eval_shape(init)
    assert tokens.states.dtype == "bfloat16"
    assert {x.dtype for x in jax.tree.leaves(variables)} == {np.dtype("float32")}
