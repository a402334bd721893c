"""Tests of answers as texts: which are kept, how they are spelt, and what does not fit."""

import numpy as np
import pytest

from vlp_jax.data.answer_fields import AnswerFields, encode_answers
from vlp_jax.data.tokenizer import Tokenizer

WORDS = ["red", "green", "a", "big", "dog"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_vocab(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


def test_answers_begin_with_cls_and_end_with_sep(tokenizer):
    fields = AnswerFields(tokenizer, length=4, count=3)({"red": 0.3, "big dog": 0.6})
    np.testing.assert_array_equal(fields["answer_ids"], [[2, 8, 9, 3], [2, 5, 3, 0], [0] * 4])
    np.testing.assert_array_equal(
        fields["answer_mask"], [[True] * 4, [True, True, True, False], [False] * 4]
    )
    np.testing.assert_array_equal(fields["answer_weights"], np.float32([0.6, 0.3, 0]))
    assert [str(x.dtype) for x in fields.values()] == ["int32", "bool", "float32"]


def test_the_answers_of_the_highest_score_are_kept(tokenizer):
    fields = AnswerFields(tokenizer, length=3, count=2)({"red": 0.2, "dog": 0.5, "green": 0.5})
    assert fields["answer_ids"][:, 1].tolist() == [9, 6]


def test_a_longer_answer_is_left_out_and_not_cut(tokenizer):
    fields = AnswerFields(tokenizer, length=4, count=2)({"a big dog": 0.9, "dog": 0.1})
    assert fields["answer_ids"].tolist() == [[2, 9, 3, 0], [0] * 4]
    np.testing.assert_array_equal(fields["answer_weights"], np.float32([0.1, 0]))


def test_a_question_without_a_usable_answer(tokenizer):
    fields = AnswerFields(tokenizer, length=4, count=1)
    with pytest.raises(ValueError, match=r"'a big dog'.*answer_length = 4; the shortest has 5"):
        fields({"a big dog": 1.0})
    assert not fields({})["answer_mask"].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(length=2, count=1), "answer_length is 2, expected at least 3"),
        (dict(length=4, count=0), "answers_per_question is 0, expected at least 1"),
    ],
)
def test_sizes_that_hold_nothing(tokenizer, settings, message):
    with pytest.raises(ValueError, match=message):
        AnswerFields(tokenizer, **settings)


def test_a_list_of_answers(tokenizer):
    ids, mask = encode_answers(tokenizer, ["red", "a big dog"])
    np.testing.assert_array_equal(ids, [[2, 5, 3, 0, 0], [2, 7, 8, 9, 3]])
    np.testing.assert_array_equal(mask.sum(-1), [3, 5])
    with pytest.raises(ValueError, match="the list of answers is empty"):
        encode_answers(tokenizer, [])
