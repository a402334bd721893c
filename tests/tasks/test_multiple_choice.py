"""Multiple choice: the texts of choices, both losses, VCR's three figures and its file."""

import csv
import io

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.tasks.classes import Decided
from vlp_jax.tasks.multiple_choice import ChoiceEvaluation, ChoiceFields, ChoiceTask

TOKENIZER = Tokenizer.fit(["why me you because it rains"])
CLS, SEP = TOKENIZER.cls_id, TOKENIZER.sep_id
ids = lambda text: TOKENIZER.piece_ids(text)


def fields(length=12, count=2, **options):
    settings = dict(types=(0, 2), given_types=(0, 2, 3), separator_follows=True) | options
    return ChoiceFields(TextEncoder(TOKENIZER, "plain"), length, count, **settings)


def test_a_question_with_each_choice():
    made = fields()(Example({"question": "why me", "choices": ["it", "you rains"]}, None), None)
    assert made["choice_mask"].sum(1).tolist() == [6, 7]
    first = [CLS, *ids("why me"), SEP, *ids("it"), SEP]
    assert made["choice_ids"][0, :6].tolist() == first
    # A separator is of the part behind it, the last one of its own.
    assert made["choice_segments"][0, :7].tolist() == [0, 0, 0, 2, 2, 2, 0]
    own = fields(separator_follows=False)(
        Example({"question": "why me", "choices": ["it", "you"]}, None), None
    )
    assert own["choice_segments"][0, :6].tolist() == [0, 0, 0, 0, 2, 2]


def test_what_explains_an_answer_has_three_parts_and_the_longest_is_cut():
    record = {"question": "why", "given": "it", "choices": ["because it rains"] * 2}
    made = fields(length=8)(Example(record, None), None)
    whole = [CLS, *ids("why"), SEP, *ids("it"), SEP, *ids("because it"), SEP]
    assert made["choice_ids"][1].tolist() == whole
    assert made["choice_segments"][1].tolist() == [0, 0, 2, 2, 3, 3, 3, 3]


def test_another_number_of_choices():
    with pytest.raises(ValueError, match="has 3 choices, expected 2"):
        fields()(Example({"question": "why", "choices": ["a", "b", "c"]}, None), None)


LABELS = np.array([1, 0], np.int32)
SCORES = np.array([[[0.0, 1], [0, 3]], [[1, 0], [2, 5]]], np.float32)  # [B, K, no and yes]


@pytest.mark.parametrize("form", ["ce", "binary"])
def test_losses(form, monkeypatch):
    monkeypatch.setattr("vlp_jax.tasks.multiple_choice.choice_logits", lambda views, head: SCORES)
    result = loss_of(ChoiceTask(form=form, choices=2), FakeViews({"labels": LABELS}))
    log = lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))
    over, each = log(SCORES[..., 1]), log(SCORES)
    right = [[0, 1], [1, 0]]
    binary = -np.mean([each[i, j, right[i][j]] for i in range(2) for j in range(2)])
    wanted = -(over[0, 1] + over[1, 0]) / 2 if form == "ce" else binary
    assert result.loss == pytest.approx(wanted, rel=1e-6)
    assert result.metrics["choice_accuracy"] == 0.5


def decided(chosen, labels):
    """One question: what is chosen of the answers, and of the rationales of each answer."""
    kinds = ["answer", *(f"rationale {i}" for i in range(4))]
    records = [{"name": "train-0", "about": kind} for kind in kinds]
    return Decided(records, 10.0 * np.eye(4)[chosen], np.array(labels))


@pytest.mark.parametrize(
    ("chosen", "figures"),
    [([2, 0, 0, 3, 0], (1, 1, 1)), ([2, 3, 3, 0, 3], (1, 0, 0)), ([1, 0, 3, 3, 0], (0, 1, 0))],
)
def test_the_figures_of_vcr(chosen, figures):
    found = decided(chosen, [2, -100, -100, 3, -100])
    made = ChoiceEvaluation().official(found, ())
    assert (made["q_to_a"], made["qa_to_r"], made["q_to_ar"]) == figures
    part = Decided(found.records[:2], found.logits[:2], found.labels[:2])
    assert ChoiceEvaluation().official(part, ()) == {}
    assert ChoiceEvaluation().official(decided(chosen, [-100] * 5), ()) == {}


def test_the_file_of_the_server():
    ending, text = ChoiceEvaluation().submission(decided([2, 0, 0, 3, 0], [-100] * 5), ())
    (row,) = csv.DictReader(io.StringIO(text))
    assert ending == "csv" and len(row) == 21 and row["annot_id"] == "train-0"
    assert float(row["answer_2"]) > 0.9 > float(row["answer_0"])
    assert float(row["rationale_conditioned_on_a2_3"]) > 0.9


def test_types_for_each_part():
    with pytest.raises(ValueError, match=r"given_types = \(0, 1\), expected 3 numbers"):
        ChoiceTask(given_types=(0, 1))
