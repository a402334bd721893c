"""The query-key mask of captioning: literal values, properties, and the original's."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.layers.masks import captioning_mask

GOLDEN = Path(__file__).parents[1] / "goldens" / "oscar-caption-a"


def test_two_words_and_a_tag():
    mask = captioning_mask(jnp.ones((1, 3), bool), 2)
    np.testing.assert_array_equal(mask[0], [[1, 0, 1], [1, 1, 1], [0, 0, 1]])


def test_the_mask_that_the_original_makes():
    inputs = np.load(GOLDEN / "inputs.npz")
    made = captioning_mask(jnp.asarray(inputs["valid"], bool), 7)
    np.testing.assert_array_equal(made, inputs["attention_mask"])


@given(st.data())
def test_no_word_is_seen_by_an_earlier_one_or_by_the_context(data):
    length = data.draw(st.integers(1, 9))
    caption = data.draw(st.integers(0, length))
    real = np.array(data.draw(st.lists(st.booleans(), min_size=length, max_size=length)))
    mask = np.asarray(captioning_mask(jnp.asarray(real)[None], caption))[0]
    assert not np.triu(mask[:, :caption], 1).any() and not mask[caption:, :caption].any()
    assert not mask[~real].any() and not mask[:, ~real].any()
    context = real.copy()
    context[:caption] = False
    assert (mask[real] & context).sum() == real.sum() * context.sum()
    assert mask.diagonal().sum() == real.sum()


@pytest.mark.parametrize("caption", [-1, 4])
def test_a_caption_longer_than_the_sequence_is_refused(caption):
    with pytest.raises(ValueError, match="in a sequence of 3"):
        captioning_mask(jnp.ones((1, 3), bool), caption)
