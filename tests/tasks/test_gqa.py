"""GQA: official figures of what a source gives, and the files of both question servers."""

import json

import numpy as np
import pytest

from vlp_jax.config import DataConfig, EvaluationConfig, ExperimentConfig
from vlp_jax.data.sources import Source
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.tasks import Run
from vlp_jax.tasks.answers import AnswerEvaluation, AnswerTask
from vlp_jax.tasks.gqa import GqaEvaluation, GqaTask

ANSWERS = ("no", "yes")


class Asked(Source):
    """Three questions, of which the first entails the second and one that is not there."""

    provides = frozenset({"image", "question"})

    def __init__(self, answered=True, choices=None):
        self.answered, self.choices = answered, choices

    def __len__(self):
        return 3

    def __getitem__(self, index):
        answer = ("yes", "no", "yes")[index]
        official = {
            "question": "is it?",
            "answer": answer,
            "isBalanced": True,
            "groups": {"global": "g"},
            "entailed": ["1", "9"] if index == 0 else [],
            "types": {"structural": "verify", "semantic": "attr", "detailed": "x"},
            "semantic": [],
            "choices": self.choices,
        }
        record = {"image": np.zeros((8, 8, 3), np.uint8), "image_id": index, "name": str(index)}
        record |= {"question": "is it?", "official": official}
        return record | ({"answers": {answer: 1.0}} if self.answered else {})


def outcome_of(source, task, evaluation, chosen=(1, 0, 0)):
    config = ExperimentConfig(
        data=DataConfig(source="json", image_size=8), evaluation=EvaluationConfig(batch_size=3)
    )
    forward = lambda function, batch: np.eye(2)[list(chosen)]
    opened = {("json", "test"): source, ("json", "train"): source}
    vocabulary = Vocabulary(Tokenizer.fit(["is it"]), ANSWERS)
    return evaluation(Run(config, vocabulary, forward, task, opened), "gqa")


def test_official_figures():
    outcome = outcome_of(Asked(), GqaTask(), GqaEvaluation())
    figures = outcome.figures
    assert figures["gqa_accuracy"] == pytest.approx(2 / 3)
    assert figures["gqa_official_accuracy"] == pytest.approx(2 / 3)
    assert figures["gqa_official_binary"] == pytest.approx(2 / 3)
    assert figures["gqa_official_consistency"] == 1.0 and "gqa_official_validity" not in figures
    # Two of "yes" were expected and one given, one of "no" and two given: 1/2 + 1/1.
    assert figures["gqa_official_distribution"] == pytest.approx(1.5 / 100)
    numbers = {name for name in figures if not name.endswith("_name")}
    assert numbers <= GqaEvaluation().figures("gqa")
    assert json.loads(outcome.submissions["gqa_predictions.json"])[0] == {
        "questionId": "0", "prediction": "yes"
    }  # fmt: skip


def test_validity_needs_the_file_of_choices():
    choices = {"valid": ["no"], "plausible": ["yes", "no"]}
    figures = outcome_of(Asked(choices=choices), GqaTask(), GqaEvaluation()).figures
    assert figures["gqa_official_validity"] == pytest.approx(2 / 3)
    assert figures["gqa_official_plausibility"] == 1.0


def test_a_split_without_answers_gives_the_file_of_the_server_alone():
    outcome = outcome_of(Asked(answered=False), AnswerTask(), AnswerEvaluation())
    assert not outcome.figures and not outcome.rows
    assert json.loads(outcome.submissions["gqa_predictions.json"])[1] == {
        "question_id": "1", "answer": "no"
    }  # fmt: skip
