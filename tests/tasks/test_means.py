"""Means of figures: literal values, what lacks a number, and names that cannot be."""

import dataclasses

import pytest

from vlp_jax.config import EvaluationConfig
from vlp_jax.tasks import evaluate
from vlp_jax.tasks.means import check_means, means_of

FIGURES = {"a": 0.25, "b": 0.5, "c": 0.9, "b_name": "yes"}


def test_each_is_the_mean_of_its_figures():
    assert means_of({"all": ("a", "b"), "one": ("c",)}, FIGURES) == {"all": 0.375, "one": 0.9}
    assert means_of({}, FIGURES) == {}


@pytest.mark.parametrize("part", ["d", "b_name"])
def test_without_a_number_there_is_no_mean(part, caplog):
    assert means_of({"all": ("a", part), "one": ("c",)}, FIGURES) == {"one": 0.9}
    assert caplog.messages == [f"mean all is left out: no number for {part}"]


def test_means_are_figures_of_an_evaluation(right):
    task = {"mlm": {"evaluate": {"mlm": {"limit": 8}, "words": {"limit": 8}}}}
    means = EvaluationConfig(means={"mine": ("mlm_accuracy", "words_chance")})
    config = dataclasses.replace(right.experiment.config, tasks=task, evaluation=means)
    found = evaluate(config, right.experiment.vocabulary, right.forward).figures
    assert found["mlm_accuracy"] == 1.0 > found["words_chance"]
    assert found["mine"] == (1 + found["words_chance"]) / 2


GIVEN = [frozenset({"a", "b"}), frozenset({"other_accuracy"})]


def test_names_are_checked():
    assert check_means({"all": ("a", "b")}, GIVEN) == {"all"}
    assert check_means({"all": ("whatever",)}, [*GIVEN, None]) == {"all"}
    with pytest.raises(ValueError, match="means.a: an evaluation gives a figure of this name"):
        check_means({"a": ("b",)}, GIVEN)
    message = 'all: no evaluation gives the figure "oter_accuracy". Did you mean "other_accuracy"'
    with pytest.raises(ValueError, match=f"config.evaluation.means.{message}"):
        check_means({"all": ("a", "oter_accuracy")}, GIVEN)
