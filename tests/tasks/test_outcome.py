"""What evaluations give: cells as text, rows in groups, outcomes merged, bad examples named."""

import numpy as np
import pytest

from vlp_jax.tasks.outcome import (
    AnswerExample,
    HeatMap,
    Outcome,
    PairExample,
    RetrievalExample,
    TableRow,
    in_groups,
)

IMAGE = np.zeros((24, 24, 3), np.uint8)


def test_cells_as_text():
    row = TableRow("m", 0.684)
    shown = {0.684: "68.4 %", 0.002: "0.20 %", 0.0: "0.0 %", 1.0: "100.0 %"}
    assert {value: row.text(value) for value in shown} == shown
    assert [row.text(v) for v in (None, float("nan"))] == ["–", "–"]
    assert TableRow("m", 1.0, unit="number").text(1234.5) == "1,234.5"
    with pytest.raises(ValueError, match='unit is "share"'):
        TableRow("m", 1.0, unit="share")


def test_rows_of_a_group_stand_together():
    given = [
        ("d", "Words"),
        ("m", "Mine"),
        ("b", "Ranks"),
        ("a", "Ranks"),
        ("c", "Words"),
        ("x", "A"),
    ]
    rows = in_groups([TableRow(name, 0.5, group=group) for name, group in given])
    assert [row.metric for row in rows] == ["d", "c", "m", "b", "a", "x"]


def test_outcomes_are_merged():
    first, second = TableRow("a", 0.5), TableRow("b", 0.25)
    outcome = Outcome({"a": 0.5, "both": 1}, [first], attribution=["mine"])
    outcome.merge(Outcome({"b": 0.25, "both": 2}, [second], attribution=["yours"]))
    assert outcome == Outcome(
        {"a": 0.5, "b": 0.25, "both": 2}, [first, second], attribution=["mine", "yours"]
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: AnswerExample(np.zeros((4, 4, 3)), "q", "a", "a", 1.0), r"float64 \[4, 4, 3\]"),
        (lambda: AnswerExample("cat.png", "q", "a", "a", 1.0), "is str"),
        (lambda: PairExample(IMAGE[..., 0], "a", "b", 0.0, 1.0), "uint8 array"),
        (lambda: RetrievalExample("a", [IMAGE], [True, False]), "correct has 2"),
        (lambda: RetrievalExample(IMAGE, [IMAGE], [True]), "one caption with images"),
        (lambda: HeatMap(IMAGE, ["a"], np.ones((2, 4, 4))), "words has 1, maps has 2"),
        (lambda: HeatMap(IMAGE, ["a"], np.ones((1, 16))), r"expected \[words, h, w\]"),
    ],
)
def test_bad_examples_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
