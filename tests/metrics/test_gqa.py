"""GQA figures on four questions counted by hand."""

import math

import pytest

from vlp_jax.metrics.gqa import gqa_scores


def question(answer, text="is it red?", balanced=True, **more):
    kinds = {"structural": "verify", "semantic": "attr", "detailed": "existAttr"}
    return {
        "question": text,
        "answer": answer,
        "isBalanced": balanced,
        "groups": {"global": more.get("group")},
        "entailed": more.get("entailed", []),
        "types": kinds | more.get("types", {}),
        "semantic": [{"operation": o, "argument": a} for o, a in more.get("semantic", [])],
    }


QUESTIONS = {
    "1": question("yes", entailed=["1", "2", "3"], group="colour"),
    "2": question("no", group="colour", semantic=[("select", "dog (1)"), ("query", "name")]),
    "3": question("red", balanced=False),
    "4": question("shape", "what do both have in common?", types={
        "structural": "query", "detailed": "twoCommon"}, group="property"),
}  # fmt: skip
CHOICES = {name: {"valid": ["yes", "no"], "plausible": ["yes"]} for name in QUESTIONS}
PREDICTIONS = {"1": "yes", "2": "yes", "3": "red", "4": "color"}


def test_figures_by_hand():
    scores = gqa_scores(QUESTIONS, CHOICES, PREDICTIONS)
    assert scores.accuracy == pytest.approx(100 / 3)
    assert (scores.binary, scores.open) == (50.0, 0.0)
    assert (scores.validity, scores.plausibility) == (100.0, 100.0)
    assert scores.consistency == 50.0
    # Colour: (2 - 1)² / 1 + (0 - 1)² / 1 for two answers; property: (0 - 1)² / 1 for one.
    assert scores.distribution == pytest.approx((2 * 2 + 1 * 1) / 3 / 100)
    assert scores.by_structural_type == {"verify": (50.0, 2), "query": (0.0, 1)}
    assert scores.by_steps == {0: (50.0, 2), 1: (0.0, 1)}
    assert scores.by_length == {3: (50.0, 2), 6: (0.0, 1)}


def test_right_answers_are_perfect():
    scores = gqa_scores(QUESTIONS, CHOICES, {k: q["answer"] for k, q in QUESTIONS.items()})
    assert scores.accuracy == scores.consistency == 100.0 and scores.distribution == 0.0


def test_nothing_to_count():
    scores = gqa_scores({"3": QUESTIONS["3"]}, {}, {"3": "red"})
    assert scores.accuracy == scores.open == scores.consistency == 0.0
    assert math.isnan(scores.distribution)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((QUESTIONS, CHOICES, {"1": "yes"}), 'lack their prediction, such as "2"'),
        ((QUESTIONS, {"1": CHOICES["1"]}, PREDICTIONS), 'lack their choices, such as "2"'),
        (({"1": QUESTIONS["1"]}, CHOICES, PREDICTIONS), 'lack their prediction, such as "2"'),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gqa_scores(*arguments)
