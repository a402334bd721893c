"""Tests of published text preparation, on literal cases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.data.text import (
    TEXT_STYLES,
    encode_pair,
    pre_caption,
    pre_question,
    usable_text,
    whitespace_pieces,
)
from vlp_jax.data.tokenizer import Tokenizer

BERT = Tokenizer.bert_uncased()
CLS, SEP = 101, 102


@pytest.mark.parametrize(
    "given_text, expected",
    [
        ('A "red" apple, (cut) in half!', "a red apple cut in half"),
        ("well-known black/white *cat* #1; why?~", "well known black white cat 1 why"),
        ("<person> rides a <PERSON>'s bike", "person rides a persons bike"),
        ("  many   spaces \t here \n", "many spaces here"),
        ("it's 5:30", "its 530"),
        ("keep <this> & that_one", "keep <this> & that_one"),
        ("a\tb", "a\tb"),
        ("...", ""),
    ],
)
def test_pre_caption(given_text, expected):
    assert pre_caption(given_text) == expected


def test_pre_caption_keeps_the_first_words():
    assert pre_caption("one two three four", 3) == "one two three"
    assert pre_caption("one two three", 3) == "one two three"
    assert len(pre_caption("w " * 40).split()) == 30


@pytest.mark.parametrize(
    "given_text, expected",
    [
        ("What's in the bag?", "whats in the bag"),
        ("Is it black-and-white?  ", "is it black and white"),
        ("  two  spaces stay", "  two  spaces stay"),
        ("a <person>?", "a <person>"),
    ],
)
def test_pre_question(given_text, expected):
    assert pre_question(given_text) == expected


def test_pre_question_counts_empty_words():
    assert pre_question("a  b c", 3) == "a  b"


def test_styles_are_found_by_name():
    clean_caption, clean_question = TEXT_STYLES.get_known("plain")[:2]
    assert clean_caption(" A Dog! ", 1) == clean_question(" A Dog! ", 1) == "A Dog!"
    with pytest.raises(ValueError, match='Did you mean "albef"'):
        TEXT_STYLES.get_known("albeff")


def test_whitespace_pieces_split_words_first():
    assert whitespace_pieces(BERT, " playing  unaffable\tdog's ") == [
        "playing", "una", "##ffa", "##ble", "dog", "'", "s",
    ]  # fmt: skip
    assert whitespace_pieces(BERT, "dog\x1ccat") == ["dog", "cat"]
    assert BERT.word_pieces("dog\x1ccat") != ["dog", "cat"]


def test_pair_layout():
    ids, mask, segments = encode_pair(BERT, "hello world", "dog", 8)
    assert ids.tolist() == [CLS, 7592, 2088, SEP, 3899, SEP, 0, 0]
    assert mask.tolist() == [True] * 6 + [False] * 2
    assert segments.tolist() == [0, 0, 0, 0, 1, 1, 0, 0]
    assert encode_pair(BERT, "hello", "", 5)[0].tolist() == [CLS, 7592, SEP, 0, 0]


def test_pair_truncation():
    four, two = "dog dog dog dog", "hello hello"
    dog, hello = 3899, 7592
    assert encode_pair(BERT, four, two, 7)[0].tolist() == [CLS, dog, dog, SEP, hello, hello, SEP]
    assert encode_pair(BERT, four, two, 6)[0].tolist() == [CLS, dog, dog, SEP, hello, SEP]
    ids, _, segments = encode_pair(BERT, four, two, 8, truncate="second")
    assert ids.tolist() == [CLS, dog, dog, dog, dog, SEP, hello, SEP]
    assert segments.tolist() == [0] * 6 + [1] * 2
    assert encode_pair(BERT, four, two, 6, truncate="second")[0].tolist() == [CLS] + [dog] * 4 + [
        SEP
    ]


@given(
    st.integers(0, 9), st.integers(0, 9), st.integers(3, 12),
    st.sampled_from(["longer", "second"]),
)  # fmt: skip
def test_any_pair_fits(first, second, length, truncate):
    ids, mask, segments = encode_pair(BERT, "dog " * first, "cat " * second, length, truncate)
    assert ids.shape == mask.shape == segments.shape == (length,)
    assert ids[0] == CLS and ids[int(mask.sum()) - 1] == SEP
    assert (segments[~mask] == 0).all()


def test_pair_errors():
    with pytest.raises(ValueError, match='"longer" or "second"'):
        encode_pair(BERT, "a", "b", 8, truncate="first")
    with pytest.raises(ValueError, match="at least 3"):
        encode_pair(BERT, "a", "b", 2)


INVISIBLE = (
    "", " ", "\u200b", "\u00ad", "\ufeff", "\u00a0", "\u3000", "\u2060\u200d", "\u180e", "\u0301",
    "\u2028\u2029", "\x00\x07", "\ufffd", "\u3164", "\u2800", "\u115f\uffa0", "\ue000", "\ufe0f",
    "\U000e0020",
)  # fmt: skip


@pytest.mark.parametrize("style", TEXT_STYLES)
@pytest.mark.parametrize("text", INVISIBLE, ids=ascii)
def test_texts_that_leave_no_word_piece_are_no_texts(text, style):
    for kind, clean in zip(("caption", "question"), TEXT_STYLES[style]):
        with pytest.raises(ValueError, match=f"no {kind} with words in it") as caught:
            usable_text(BERT, [text, text * 3], clean, kind=kind)
        assert str(caught.value).isascii()
        assert usable_text(BERT, [text, f"{text} A dog."], clean)[1] == 1


@pytest.mark.parametrize("text", ["\U0001f642", "\u4e2d", "a\u200b", "?", "1", "\u0e01"])
def test_words_that_are_not_known_are_words(text):
    assert usable_text(BERT, ["\u200b", text])[1] == 1
    with pytest.raises(ValueError, match="question is a int, expected text"):
        usable_text(BERT, [3], kind="question")


@pytest.mark.parametrize("text", ["[SEP]", "[PAD] [MASK]", "[UNK]"])
def test_special_tokens_are_no_words(text):
    with pytest.raises(ValueError, match="no caption with words in it"):
        usable_text(BERT, [text])
    assert usable_text(BERT, [f"{text} cat"])[1] == 0
