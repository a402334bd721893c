"""Soft targets of VQA: both rules by hand, and their bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlp_jax.data.vqa_targets import capped_targets, share_targets

ANSWERS = ["red"] * 5 + ["blue"] * 3 + ["Red", "a red"]


def test_both_rules_by_hand():
    assert capped_targets(ANSWERS) == {"red": 1.0, "blue": 0.9, "Red": 0.3, "a red": 0.3}
    assert capped_targets(ANSWERS, {"blue", "green"}) == {"blue": 0.9}
    assert capped_targets(["x", "x"]) == {"x": 0.6}
    assert share_targets(ANSWERS) == {"red": 0.5, "blue": 0.3, "Red": 0.1, "a red": 0.1}


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=10))
def test_targets_are_bounded_and_grow_with_the_count(answers):
    capped, shares = capped_targets(answers), share_targets(answers)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(0 < target <= 1 for target in capped.values())
    order = sorted(capped, key=answers.count)
    assert [capped[a] for a in order] == sorted(capped.values())


@pytest.mark.parametrize("rule", [capped_targets, share_targets])
@pytest.mark.parametrize("answers", ["red", []])
def test_bad_input_is_named(rule, answers):
    with pytest.raises(ValueError, match="expected one text per annotator"):
        rule(answers)
