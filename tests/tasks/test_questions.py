"""Tests of one or several questions in an example, and of answers as texts."""

import numpy as np
import pytest

from vlp_jax.data.region_fields import Regions
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.tasks.questions import AnswerWords, QuestionFields, answer_pieces, padded_answers

TOKENIZER = Tokenizer.fit(["is there a dog cat bird fish what color red"])
ANSWERS = ("no", "red", "yes")


def asked(question: str, answer: str) -> dict:
    return {"question": question, "answers": {answer: 1.0}}


RECORD = asked("is there a dog?", "yes") | {
    "more_questions": [
        asked("is there a cat?", "no"),
        asked("what color?", "red"),
        asked("is there a bird?", "no"),
    ]
}


def fields(count: int, record=RECORD, seed: int = 0, **options):
    made = QuestionFields(TextEncoder(TOKENIZER), 6, ANSWERS, count=count, **options)
    return made(Example(record, None), np.random.default_rng(seed))


def texts(example) -> list[str]:
    return [TOKENIZER.decode(row) for row in example["question_ids"]]


def test_one_question_has_no_axis_of_its_own():
    example = fields(1)
    assert example["question_ids"].shape == (6,) and example["answer_scores"].tolist() == [0, 0, 1]


def test_several_begin_with_the_own_and_differ():
    example = fields(3)
    assert example["question_ids"].shape == example["question_mask"].shape == (3, 6)
    assert texts(example)[0] == "is there a dog" and len(set(texts(example))) == 3


def test_each_question_keeps_its_answer():
    answers = {"is there a dog": 2, "is there a cat": 0, "what color": 1, "is there a bird": 0}
    for seed in range(5):
        example = fields(4, seed=seed)
        assert set(texts(example)) == set(answers)
        chosen = example["answer_scores"].argmax(-1)
        assert [answers[text] for text in texts(example)] == chosen.tolist()


def test_tags_follow_the_question():
    example = Example(RECORD | {"labels": ["cat", "red fish", "bird"]}, None)
    example["regions"] = Regions({}, np.array([1, 0]))
    made = QuestionFields(TextEncoder(TOKENIZER), 14, ANSWERS, tags=True)(example, None)
    assert TOKENIZER.decode(made["question_ids"]) == "is there a dog red fish cat"
    tags = made["question_ids"][made["question_segments"] == 1].tolist()
    assert tags == [*TOKENIZER.piece_ids("red fish cat"), TOKENIZER.sep_id]


def test_a_question_without_answers_is_for_evaluation_alone():
    record = {"question": "is there a dog?"}
    assert not fields(1, record, train=False)["answer_scores"].any()
    with pytest.raises(ValueError, match='no "answers"'):
        fields(1, record)


def test_other_seeds_draw_other_questions():
    assert len({tuple(texts(fields(2, seed=seed))) for seed in range(20)}) == 3


def test_too_few_questions_come_again():
    record = asked("is there a dog?", "yes") | {"more_questions": [asked("what color?", "red")]}
    assert texts(fields(5, record)) == ["is there a dog", "what color"] * 2 + ["is there a dog"]


def test_a_bad_entry_among_several_is_named():
    record = RECORD | {"more_questions": [asked("is there a cat?", "no") | {"answers": {"no": 2}}]}
    with pytest.raises(ValueError, match='answer "no" has score 2, expected 0 to 1'):
        fields(2, record)


SPELT = Tokenizer.from_vocab(
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "a", "big", "dog"]
)


def spelt(answers, **options):
    return AnswerWords(SPELT, **options)(Example({"answers": answers}, None), None)


def test_answers_begin_with_cls_and_end_with_sep():
    fields = spelt({"red": 0.3, "big dog": 0.6}, length=4, count=3)
    np.testing.assert_array_equal(fields["answer_ids"], [[2, 8, 9, 3], [2, 5, 3, 0], [0] * 4])
    np.testing.assert_array_equal(
        fields["answer_mask"], [[True] * 4, [True, True, True, False], [False] * 4]
    )
    np.testing.assert_array_equal(fields["answer_weights"], np.float32([0.6, 0.3, 0]))
    assert [str(x.dtype) for x in fields.values()] == ["int32", "bool", "float32"]


def test_the_answers_of_the_highest_score_are_kept():
    fields = spelt({"red": 0.2, "dog": 0.5, "green": 0.5}, length=3, count=2)
    assert fields["answer_ids"][:, 1].tolist() == [9, 6]


def test_a_longer_answer_is_left_out_and_not_cut():
    fields = spelt({"a big dog": 0.9, "dog": 0.1}, length=4, count=2)
    assert fields["answer_ids"].tolist() == [[2, 9, 3, 0], [0] * 4]
    np.testing.assert_array_equal(fields["answer_weights"], np.float32([0.1, 0]))


def test_a_question_without_a_usable_answer():
    with pytest.raises(ValueError, match=r"'a big dog'.*answer_length = 4; the shortest has 5"):
        spelt({"a big dog": 1.0}, length=4, count=1)
    with pytest.raises(ValueError, match=r"no answer with words in it: \['.u200b'\]"):
        spelt({"\u200b": 1.0}, length=4, count=1)
    assert spelt({"\u200b": 1.0, "dog": 0.5}, length=4, count=2)["answer_mask"].any(1).tolist() == [
        1,
        0,
    ]
    assert not spelt({}, length=4, count=1)["answer_mask"].any()


def test_a_list_of_answers():
    ids, mask = padded_answers([answer_pieces(SPELT, a) for a in ("red", "a big dog")])
    np.testing.assert_array_equal(ids, [[2, 5, 3, 0, 0], [2, 7, 8, 9, 3]])
    np.testing.assert_array_equal(mask.sum(-1), [3, 5])
    with pytest.raises(ValueError, match="the list of answers is empty"):
        padded_answers([])
