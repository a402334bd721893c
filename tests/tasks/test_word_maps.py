"""Maps of positions and image tokens as maps of words and places."""

import numpy as np
import pytest

from vlp_jax.tasks.word_maps import by_word, grid_side, on_grid


def test_tokens_before_the_patches_are_left_out():
    maps = np.arange(20.0).reshape(2, 10)
    np.testing.assert_array_equal(on_grid(maps)[1], np.arange(11.0, 20.0).reshape(3, 3))


@pytest.mark.parametrize(
    "tokens, side", [(4, 2), (5, 2), (6, 2), (7, None), (2, 1), (257, 16), (578, 24), (580, None)]
)
def test_squares_of_patches(tokens, side):
    assert grid_side(tokens) == side


def test_no_words_give_no_maps():
    words, maps = by_word(np.zeros((3, 5), np.float32), [])
    assert words == () and maps.shape == (0, 5)
