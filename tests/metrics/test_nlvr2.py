"""NLVR2: how prediction lines are read, and both figures by hand."""

import pytest

from vlp_jax.metrics.nlvr2 import nlvr2_scores, parse_nlvr2_predictions

LABELS = {"dev-1-0-0": "True", "dev-1-1-0": "False", "dev-1-0-1": "True", "dev-2-0-0": "False"}


def test_a_sentence_counts_once_for_all_its_pairs():
    predictions = LABELS | {"dev-1-1-0": "True"}
    assert nlvr2_scores(LABELS, predictions) == pytest.approx((3 / 4, 2 / 3))
    assert nlvr2_scores(LABELS, {k: v.upper() for k, v in LABELS.items()}) == (1.0, 1.0)


def test_lines_are_read_with_their_quirks():
    lines = [" dev-1,True \n", "dev-2, True", "dev-3,False,0.93", "dev-1,False"]
    read = parse_nlvr2_predictions(lines)
    assert read == {"dev-1": "False", "dev-2": " True", "dev-3": "False"}
    assert nlvr2_scores({"dev-2-0-0": "True"}, {"dev-2-0-0": " True"}) == (0.0, 0.0)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: nlvr2_scores(LABELS, {}),
            '4 of 4 examples lack a .* "dev-1-0-0"',
        ),
        (lambda: nlvr2_scores({}, {}), "at least one example"),
        (lambda: nlvr2_scores({"dev-1": "True"}, {"dev-1": "True"}), "split-set-pair-sentence"),
        (lambda: parse_nlvr2_predictions(["a,b", ""]), "line 2 is '', expected identifier,answer"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
