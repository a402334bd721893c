"""Tests of one or several questions in an example."""

import numpy as np
import pytest

from vlp_jax.data.answer_fields import AnswerFields
from vlp_jax.data.question_fields import QuestionFields
from vlp_jax.data.tokenizer import Tokenizer

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
    made = QuestionFields(TOKENIZER, 6, ANSWERS, count=count, **options)
    return made(record, np.random.default_rng(seed))


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


def test_other_seeds_draw_other_questions():
    assert len({tuple(texts(fields(2, seed=seed))) for seed in range(20)}) == 3


def test_too_few_questions_come_again():
    record = asked("is there a dog?", "yes") | {"more_questions": [asked("what color?", "red")]}
    assert texts(fields(5, record)) == ["is there a dog", "what color"] * 2 + ["is there a dog"]


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(count=0), "questions is 0, expected at least 1"),
        (dict(count=2, answer_texts=AnswerFields(TOKENIZER, 4, 1)), "do not go together"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        fields(**options)


def test_a_bad_entry_among_several_is_named():
    record = RECORD | {"more_questions": [asked("is there a cat?", "no") | {"answers": {"no": 2}}]}
    with pytest.raises(ValueError, match='answer "no" has score 2, expected 0 to 1'):
        fields(2, record)
