"""Tests of the Vision Transformer: patches, pixels, sizes and the whole against float64."""

import jax
import numpy as np
import pytest

from tests.layers import slow
from tests.model.tiny import VISION, random_variables
from vlp_jax.encoders.vit import PIXEL_MEAN, PIXEL_STD, ViT, normalise_pixels, patchify


def shapes(image=None, **changes):
    """Returns (output, parameters) as shapes, without computing."""
    args = VISION["vit"] | changes
    side = args["image_size"] if image is None else image
    batch = {"image": jax.ShapeDtypeStruct((2, side, side, 3), "uint8")}
    init = lambda batch: ViT(**args).init_with_output(jax.random.key(0), batch)
    tokens, variables = jax.eval_shape(init, batch)
    return tokens, variables["params"]


def test_patches_are_row_major_and_their_pixels_too():
    image = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = patchify(image, 2)
    assert patches.shape == (2, 6, 12)
    for row in range(2):
        for column in range(3):
            square = image[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            np.testing.assert_array_equal(patches[:, 3 * row + column], square.reshape(2, -1))


def test_uint8_pixels_are_normalised():
    image = np.array([[[[0, 128, 255]]]], np.uint8)
    exact = (np.array([0, 128, 255]) / 255 - PIXEL_MEAN) / PIXEL_STD
    np.testing.assert_allclose(
        normalise_pixels(image, PIXEL_MEAN, PIXEL_STD)[0, 0, 0], exact, rtol=1e-6
    )


def test_float_pixels_pass_as_they_are():
    image = np.array([[[[0.5, -3.0, 200.0]]]], np.float32)
    np.testing.assert_array_equal(normalise_pixels(image, PIXEL_MEAN, PIXEL_STD), image)


@pytest.mark.parametrize("patch_norm", [False, True])
def test_the_whole_against_float64(patch_norm):
    rng = np.random.default_rng()
    module = ViT(**VISION["vit"], patch_norm=patch_norm)
    batch = {"image": rng.normal(size=(2, 8, 8, 3)).astype(np.float32)}
    variables = random_variables(module, rng, batch)
    tokens = jax.jit(module.apply)(variables, batch)
    p = variables["params"]
    patches = slow.linear(p["patch_embedding"], np.asarray(patchify(batch["image"], 4)))
    if patch_norm:
        patches = slow.layer_norm(p["patch_norm"], patches, 1e-6)
    first = np.broadcast_to(p["class_token"], (2, 1, 16))
    states = np.concatenate([first, patches], 1) + p["positions"]
    states = slow.vit_block(slow.layer(p["layers"], 0), states, np.ones((2, 5, 5), bool))
    np.testing.assert_allclose(tokens.states, slow.layer_norm(p["norm"], states, 1e-6), atol=2e-5)
    assert tokens.mask.all() and tokens.mask.shape == (2, 5)


@pytest.mark.parametrize(
    "changes",
    [{}, {"stem_width": 4}, {"image_size": 24, "patch_size": 8}, {"distilled": True}],
)
def test_number_of_tokens(changes):
    tokens, params = shapes(**changes)
    assert tokens.states.shape[1] == ViT(**VISION["vit"] | changes).tokens
    assert params["positions"].value.shape == (1, *tokens.states.shape[1:])


def test_the_stem_shrinks_the_image_four_times():
    _, params = shapes(stem_width=4, image_size=16, patch_size=8)
    assert params["stem_0"]["kernel"].value.shape == (3, 3, 3, 4)
    assert params["stem_1"]["kernel"].value.shape == (3, 3, 4, 8)
    assert params["patch_embedding"]["kernel"].value.shape == (2 * 2 * 8, 16)


def test_computes_in_its_dtype():
    tokens, params = shapes(dtype="bfloat16")
    assert tokens.states.dtype == "bfloat16"
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_an_image_of_another_size():
    with pytest.raises(ValueError, match="built for images of 8×8 pixels and got 12×12"):
        shapes(image=12)


def test_patches_that_do_not_fit():
    with pytest.raises(ValueError, match="image_size 8 is not a multiple of patch_size 3"):
        shapes(patch_size=3)


@pytest.mark.parametrize(("size", "patch"), [(28, 14), (12, 6), (8, 2)])
def test_patches_that_do_not_fit_the_stem(size, patch):
    with pytest.raises(ValueError, match=f"patch_size {patch} is not a multiple of 4"):
        shapes(stem_width=4, image_size=size, patch_size=patch)
