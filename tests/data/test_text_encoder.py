"""Whole words of a text with the positions of their pieces."""

import pytest

from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer


@pytest.mark.parametrize(
    "style, text, lengths",
    [
        ("plain", "A dog's  sofa\tgleams.", {"A": 1, "dog's": 3, "sofa": 1, "gleams.": 3}),
        ("uniter", "A dog's sofa", {"A": 1, "dog's": 3, "sofa": 1}),
        ("plain", "zero \u200b width", {"zero": 1, "width": 1}),
        ("plain", "con\x1ctrol sofa", {"con": 1, "sofa": 1}),  # BERT reads "control"
        ("plain", "狗 sofa 犬x", {"狗": 1, "sofa": 1, "犬x": 2}),
    ],
)
def test_words_and_their_positions(style, text, lengths):
    encoder = TextEncoder(Tokenizer.bert_uncased(), style)
    found = encoder.words(text, 99)
    assert {word: place.stop - place.start for word, place in found} == lengths
    ids = encoder.pieces(text)
    for word, place in found:
        assert place.stop <= 1 + len(ids)
        if word == "sofa":
            assert ids[place.start - 1 : place.stop - 1] == encoder.pieces("sofa")


@pytest.mark.parametrize(
    "used, words", [(6, ["a", "dog's", "sofa"]), (5, ["a", "dog's"]), (4, ["a"])]
)
def test_a_word_that_was_cut_is_left_out(used, words):
    encoder = TextEncoder(Tokenizer.bert_uncased(), "plain")
    assert [word for word, _ in encoder.words("a dog's sofa", used)] == words
