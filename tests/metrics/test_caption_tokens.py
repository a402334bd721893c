"""Tokens of captions: rules by example, and what holds for any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.metrics.caption_tokens import drop_punctuation, ptb_lines, tokenize_caption


@pytest.mark.parametrize(
    "caption, tokens",
    [
        ("A man, a plan.", "a man a plan"),
        ("The man's dog isn't \"here\"; he can't.", "the man 's dog is n't here he ca n't"),
        ("Don't've cannot y'all 'twas ’tis", "do n't 've can not y' all 't was tis"),
        ("rock'n'roll at 10 o'clock in the '90s", "rock 'n' roll at 10 o'clock in the '90s"),
        ("dogs' bones and James's book", "dogs bones and james 's book"),
        ("half-eaten -- semi- -pro a—b", "half-eaten semi pro a b"),
        ("1,000.50 at 10:30pm, 50% of $5 #1 -5", "1,000.50 at 10:30 pm 50 % of $ 5 # 1 -5"),
        ("3 1/2 or 3½ or (555) 555-1234", "3\xa01/2 or 3 1/2 or -lrb-555-rrb-\xa0555-1234"),
        ("Mr. Smith of the U.S. at 5 p.m.", "mr. smith of the u.s. at 5 p.m."),
        ("No. 7 is no. The cat. Vitamin C. The dog", "no. 7 is no the cat vitamin c the dog"),
        ("a cat.a bird, a dog... end..", "a cat.a bird a dog end"),
        ("[a] (close up) {x}", "-lsb- a -rsb- -lrb- close up -rrb- -lcb- x -rcb-"),
        ("wow! wow!! what?!", "wow wow !! what ?!"),
        ("AT&T rock&roll and/or w/ A&amp;B", "at&t rock & roll and/or w / a&b"),
        ("see http://a.b/c?d=e, www.a.com. <b>", "see http://a.b/c?d=e www.a.com <b>"),
        ("smile :) 😀 ❤️ ☺ 25°C", "smile :-rrb- ❤ ☺ 25 ° c"),
        ("Café STRASSE Ελλάδα 日本語", "café strasse ελλάδα 日本語"),
        ("£5 €5 5¢", "# 5 $ 5 5 cents"),
        ("some,black-and-white 1,5-x", "some,black-and-white 1,5-x"),
        ("soft\xadhyphen no\xa0break a\tb", "softhyphen no break a b"),
        ("two\nlines\rhere\u2028too", "two lines here too"),
        ("", ""),
        (" . ", ""),
    ],
)
def test_rules_by_example(caption, tokens):
    assert tokenize_caption(caption) == tokens


def test_line_breaks_move_captions_as_in_the_original():
    assert ptb_lines("first a\rb\nsecond") == [["first", "a"], ["b"], ["second"]]
    assert ptb_lines("a\x85b\r\n.") == [["a", "...", "b"], ["."]]


def test_marks_that_are_kept():
    assert drop_punctuation(["a", "--", "...", "!", "!!", "-lrb-", "''"]) == ["a", "!!", "-lrb-"]


@given(st.text(max_size=40))
def test_any_text_becomes_clean_tokens(text):
    tokens = tokenize_caption(text)
    assert tokens == tokens.lower() and tokens == tokens.strip(" ") and "  " not in tokens
    assert not set(tokens.split(" ")) & set(".,:;-?!'`")


@given(st.lists(st.from_regex("[a-z]{1,8}", fullmatch=True), min_size=1))
def test_plain_words_stay(words):
    split = {"cannot", "gonna", "gotta", "lemme", "gimme", "wanna"}
    kept = [word for word in words if word not in split]
    assert tokenize_caption(" ".join(kept).capitalize() + " .") == " ".join(kept)
