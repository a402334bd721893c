"""VQA accuracy against the published rules and hand-computed averages."""

import numpy as np
import pytest

from vlp_jax.metrics.vqa import (
    accuracy_by_type,
    answer_accuracy,
    normalize_answer,
    soft_scores,
    vqa_accuracies,
    vqa_scores,
)


@pytest.mark.parametrize(
    "raw, normal",
    [
        ("The Dog", "dog"),
        ("an  apple\n", "apple"),
        ("Two", "2"),
        ("none", "0"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("let's", "let's"),
        ("shell", "shell"),
        ("somebody'd", "somebodyd"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("U.S.", "us"),
        ("red/white", "red white"),
        ("red, white", "red white"),
        ("10:30", "10:30"),
        ("dog's", "dog's"),
        ("t-shirt", "t shirt"),
        ("yes!", "yes"),
        ("1,000/day", "1000day"),
        ("the", ""),
        ("none of it", "0 of it"),
        ("3.5 x" + 40 * ".", "3.5 x" + 8 * "."),  # only 32 full stops go
        ("red\r/blue", "red blue"),
        ("\u00a0red\u00a0/ blue", "red blue"),
        ("5.", "5"),
        ("hes", "he's"),
        ("its", "its"),
    ],
)
def test_normal_form(raw, normal):
    assert normalize_answer(raw) == normal


def test_normal_form_is_stable():
    for word in ("couldn't've", "y'all'd've", "2", "red white", "it's"):
        assert normalize_answer(normalize_answer(word)) == normalize_answer(word)


@pytest.mark.parametrize(
    "agreeing, expected",
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_ten_annotators(agreeing, expected):
    answers = ["red"] * agreeing + [f"other {i}" for i in range(10 - agreeing)]
    assert answer_accuracy("red", answers) == pytest.approx(expected)


def test_normalised_only_where_annotators_disagree():
    assert answer_accuracy("two dogs", ["2 dogs"] * 9 + ["cats"]) == 1.0
    assert answer_accuracy("two dogs", ["2 dogs"] * 10) == 0.0


def test_where_annotators_agree_case_and_double_blanks_count():
    assert answer_accuracy("Red", ["red"] * 10) == 0.0
    assert answer_accuracy("a  b", ["a b"] * 10) == 0.0
    assert answer_accuracy("\ta b\n", ["a b"] * 10) == 1.0


def test_order_of_annotators_does_not_matter():
    rng = np.random.default_rng()
    answers = list(rng.choice(["a cat", "cat", "dog", "two"], 10))
    expected = answer_accuracy("cat", answers)
    assert answer_accuracy("cat", list(rng.permutation(answers))) == pytest.approx(expected)


def test_one_accuracy_a_question():
    two = ["2"] * 2 + ["3"] * 8
    assert vqa_accuracies(["two", "3"], [two, two]) == pytest.approx([0.6, 1.0])


LOGITS = np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
TARGETS = np.array([[1.0, 0.3, 0.0], [0.6, 0.0, 1.0], [1.0, 0.0, 0.0]], np.float32)


def test_soft_score_is_the_target_of_the_highest_logit():
    assert soft_scores(LOGITS, TARGETS) == pytest.approx([0.3, 0.6, 0.0])


def test_accuracy_by_type():
    scores, types = np.array([1.0, 0.0, 0.5, 1.0]), ["count", "count", "is", "colour"]
    assert accuracy_by_type(scores, types) == {"colour": 1.0, "count": 0.5, "is": 0.5}
    mask = np.array([1, 1, 1, 0], bool)
    assert accuracy_by_type(scores, types, mask) == {"count": 0.5, "is": 0.5}


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: answer_accuracy("a", ["a"] * 3), "at least 4"),
        (lambda: answer_accuracy("a", "aaaaaaaaaa"), "expected a list"),
        (lambda: vqa_accuracies(["a"], []), "predictions has 1, answers has 0"),
        (lambda: soft_scores(LOGITS, TARGETS[:2]), r"answer_scores has shape \[2, 3\]"),
        (lambda: accuracy_by_type(np.ones(1), ["a"], np.ones(1)), "expected bool"),
        (lambda: accuracy_by_type(np.ones(2), ["a"]), "equal lengths"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_official_table_is_in_percent_by_both_types():
    answers = [["2"] * 2 + ["3"] * 8, ["red"] * 10, ["yes"] * 10]
    kinds = ["how many", "what", "what"], ["number", "other", "yes/no"]
    scores = vqa_scores(["two", "red", "no"], answers, *kinds)
    assert scores.per_question == pytest.approx([0.6, 1.0, 0.0])
    assert scores.overall == pytest.approx(160 / 3)
    assert scores.by_question_type == pytest.approx({"how many": 60.0, "what": 50.0})
    assert scores.by_answer_type == pytest.approx({"number": 60.0, "other": 100.0, "yes/no": 0.0})
    with pytest.raises(ValueError, match="no questions"):
        vqa_scores([], [], [], [])
