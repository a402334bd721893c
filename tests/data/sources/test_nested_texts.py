"""Tests of finding texts in nested records."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.data.sources.nested_texts import texts_at, valid_text


@pytest.mark.parametrize(
    "value, path",
    [
        ({"c": ["a", " b "]}, "c"),
        ({"c": [{"text": "a"}, {"text": "b"}]}, "c.text"),
        ({"c": {"text": np.array([b"a", b"b"], object)}}, "c.text"),
        ({"c": {"x": [{"y": ["a", None]}, None, {"y": ["", "b"]}]}}, "c.x.y"),
    ],
)
def test_the_same_texts_in_many_forms(value, path):
    assert texts_at(value, path) == ["a", "b"]


def test_mistakes_name_the_path():
    with pytest.raises(ValueError, match='"c.txt": there is no "txt".*Did you mean "text"'):
        texts_at({"c": {"text": "a"}}, "c.txt")
    with pytest.raises(ValueError, match='"c.text": expected something with the key "text", .*str'):
        texts_at({"c": "a"}, "c.text")
    with pytest.raises(ValueError, match='"c" is 3; expected text'):
        texts_at({"c": [3]}, "c")


texts = st.recursive(st.text(), lambda inner: st.lists(inner, max_size=4), max_leaves=12)


@given(texts)
def test_every_non_empty_text_of_nested_lists_is_found_once(value):
    def flat(one):
        return [one.strip()] if isinstance(one, str) else [t for part in one for t in flat(part)]

    assert texts_at({"c": value}, "c") == [text for text in flat(value) if text]


@given(st.text())
def test_lone_surrogates_are_replaced_and_nothing_else(sound):
    assert valid_text(sound) == sound
    for half in map(chr, (0xD800, 0xDBFF, 0xDC00, 0xDFFF)):
        assert valid_text(f"{sound} {half} a") == f"{sound} \ufffd a"
    assert valid_text("\ud83d\ude00") == "\N{GRINNING FACE}"  # both halves are a character
    assert texts_at({"c": ["\ud83d a", "b"]}, "c") == ["\ufffd a", "b"]
