"""Question-only baselines: back-offs, ties, and that each can learn what it should."""

import time

import numpy as np
import pytest

from vlp_jax.metrics.blind_answers import (
    AnswerMajority,
    LogisticRegression,
    NaiveBayes,
    QuestionMajority,
    best_blind_vqa,
    blind_vqa_scores,
)

QUESTIONS = ["What colour is it?", "what colour is it", "What colour is it?", "How many dogs?"]
QUESTIONS += ["How many cats?", "How many cats?", "What"]
ANSWERS = ["red", "blue", "blue", "2", "3", "3", "cup"]


def test_question_majority_and_its_back_offs():
    model = QuestionMajority.fit(QUESTIONS, ANSWERS)
    assert model.predict(["What colour is it", "How many cats?", "What?"]) == ["blue", "3", "cup"]
    # Unseen: shortened to "how many", to "what" (blue 2, red 1, cup 1), to nothing (a tie).
    assert model.predict(["How many birds?", "What time", "Who"]) == ["3", "blue", "3"]


def test_equal_counts_go_to_the_alphabetically_first():
    assert QuestionMajority.fit(["a", "a"], ["z", "b"]).predict(["a"]) == ["b"]
    assert AnswerMajority.fit(["a", "c", "d"], ["z", "b", "z"]).predict(["q"]) == ["z"]


def test_order_of_training_questions_does_not_matter():
    order = np.random.default_rng().permutation(len(QUESTIONS))
    shuffled = [QUESTIONS[i] for i in order], [ANSWERS[i] for i in order]
    asked = ["How many", "what colour", "Is it?", *QUESTIONS]
    for kind in (QuestionMajority, NaiveBayes, LogisticRegression):
        expected = kind.fit(QUESTIONS, ANSWERS).predict(asked)
        assert kind.fit(*shuffled).predict(asked) == expected


@pytest.mark.parametrize("kind", [NaiveBayes, LogisticRegression])
def test_bag_of_words_generalises_over_word_order(kind):
    questions = ["is the red ball there", "is a red cup there", "is the blue ball there", "blue"]
    model = kind.fit(questions, ["yes", "yes", "no", "no"])
    assert model.predict(["there red", "blue is there", "a red pen"]) == ["yes", "no", "yes"]


def test_logistic_regression_fits_what_a_count_of_words_cannot():
    words = ["left dog right cat", "left cat right dog"]
    model = LogisticRegression.fit(words * 5, ["dog", "cat"] * 5)
    assert model.predict(words) == ["dog", "cat"]


def test_soft_answers_are_learned_and_scored():
    train = [{"red": 1.0, "pink": 0.3}, {"red": 0.3, "pink": 0.3}]
    found = blind_vqa_scores(["q", "q"], train, ["q", "q"], [{"red": 0.6}, {"pink": 1.0}])
    # "red" is learned once and "pink" once (first of equals); "pink" wins the tie and scores 0, 1.
    assert found[QuestionMajority.name].tolist() == [0.0, 1.0]


def test_the_best_baseline_is_named():
    scores, name = best_blind_vqa(QUESTIONS, ANSWERS, ["How many cats?", "what"], ["3", "cup"])
    assert (scores.tolist(), name) == ([1.0, 1.0], QuestionMajority.name)
    assert blind_vqa_scores(QUESTIONS, ANSWERS, ["x"], ["3"])[AnswerMajority.name] == [1.0]


@pytest.mark.slow
def test_twenty_thousand_questions_take_seconds():
    rng = np.random.default_rng(0)
    things = [f"thing{i}" for i in range(150)]
    questions = [f"what is left of the {a} and the {b}" for a, b in rng.choice(things, (20_000, 2))]
    answers = [f"answer{i}" for i in rng.integers(0, 60, 20_000)]
    start = time.process_time()
    best_blind_vqa(questions, answers, questions[:2000], answers[:2000])
    assert time.process_time() - start < 30  # measured: a few seconds; slack for a busy machine


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: QuestionMajority.fit([], []), "zero questions"),
        (lambda: NaiveBayes.fit(["a"], []), "questions has 1, answers has 0"),
        (lambda: best_blind_vqa(["a"], ["b"], [], []), "zero test questions"),
        (lambda: QuestionMajority.fit(["a"], [{}]), "empty mapping"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
