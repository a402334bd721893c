"""Tasks that choose a class: labels, losses with and without a teacher, regions, evaluations."""

import json

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.config import DataConfig, EvaluationConfig, ExperimentConfig
from vlp_jax.data.assemble import open_source
from vlp_jax.data.input_rules import InputRules
from vlp_jax.data.sources import Source
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.tasks import Run
from vlp_jax.tasks.captioning import CaptionTask
from vlp_jax.tasks.classes import ClassEvaluation, LabelFields
from vlp_jax.tasks.entailment import EntailmentTask
from vlp_jax.tasks.multiple_choice import ChoiceTask
from vlp_jax.tasks.reasoning import PairOfRegions, ReasoningEvaluation, ReasoningTask

LOGITS = np.array([[2.0, 0, -1], [0, 1, 0], [5, 5, 5]], np.float32)
LABELS = np.array([0, 2, -100], np.int32)
LOG_SOFTMAX = np.log(np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True))
CROSS = -(LOG_SOFTMAX[0, 0] + LOG_SOFTMAX[1, 2]) / 2
# Of the first two rows the label is the class that is right; the third has none.
SIGNS = np.array([[1, -1, -1], [-1, -1, 1], [-1, -1, -1]])
BINARY = np.log1p(np.exp(-SIGNS * LOGITS)).sum(1).mean()
VOCABULARY = Vocabulary(Tokenizer.fit(["one picture shows the a dress"]))


@pytest.mark.parametrize(
    ("form", "loss"), [("ce", CROSS), ("bce", BINARY), ("bce_mean", BINARY / 3)]
)
def test_losses_leave_out_what_has_no_label(form, loss):
    result = loss_of(EntailmentTask(form=form), FakeViews({"labels": LABELS}, ve=LOGITS))
    assert result.loss == pytest.approx(loss, rel=1e-6)
    assert result.metrics["entailment_accuracy"] == 0.5


def test_the_teacher_has_its_part():
    views, teacher = (FakeViews({"labels": LABELS}, ve=x) for x in (LOGITS, -LOGITS))
    soft = np.exp(-LOGITS) / np.exp(-LOGITS).sum(1, keepdims=True)
    taught = -(soft * LOG_SOFTMAX).sum(1)[:2].mean()
    result = loss_of(EntailmentTask(alpha=0.4), views, teacher, ramp=0.5)
    assert result.loss == pytest.approx(0.8 * CROSS + 0.2 * taught, rel=1e-6)


@pytest.mark.parametrize(
    ("label", "train", "number"), [("True", True, 1), (0, True, 0), (None, False, -100)]
)
def test_labels(label, train, number):
    example = Example({"label": label}, None)
    assert LabelFields(("False", "True"), train)(example, None)["labels"] == number


@pytest.mark.parametrize("label", ["true", 2, -1, None, 1.0, True])
def test_wrong_labels(label):
    with pytest.raises(ValueError, match="expected one of False, True"):
        LabelFields(("False", "True"), True)(Example({"label": label}, None), None)


def test_an_order_of_other_classes():
    with pytest.raises(ValueError, match="expected contradiction, neutral, entailment"):
        EntailmentTask(order=("yes", "no"))


@pytest.mark.parametrize("joined", [False, True])
def test_regions_of_two_pictures(joined):
    example = {"region_features": np.arange(8.0).reshape(2, 2, 2), "region_mask": np.eye(2) > 0}
    made = PairOfRegions((1, 2), joined)(example, None)
    assert made["region_features"].shape == ((4, 2) if joined else (2, 2, 2))
    assert made["region_types"].tolist() == ([1, 1, 2, 2] if joined else [[1, 1], [2, 2]])
    assert "region_types" not in PairOfRegions(None, joined)(example, None)


def run_of(task, form, chosen, opened=None):
    """Returns a run whose model chooses `chosen(labels)`."""
    data = DataConfig(
        source="emoji_tasks",
        source_args={"emoji_tasks": dict(form=form, concepts=12, canvas=32, size=8)},
        image_size=32,
        augment="none",
    )
    config = ExperimentConfig(data=data, evaluation=EvaluationConfig(batch_size=3))
    forward = lambda function, batch: np.eye(len(task.class_names))[chosen(batch["labels"])]
    return Run(config, VOCABULARY, forward, task, opened or {})


@pytest.mark.parametrize(("chosen", "accuracy"), [(lambda x: x, 1.0), (lambda x: 1 - x, 0.0)])
def test_the_evaluation_of_two_pictures(chosen, accuracy):
    task = ReasoningTask()
    outcome = ReasoningEvaluation()(run_of(task, "picture_pairs", chosen), "nlvr2")
    assert outcome.figures["nlvr2_accuracy"] == outcome.figures["nlvr2_consistency"] == accuracy
    assert set(outcome.figures) - {"nlvr2_blind_name"} == ReasoningEvaluation().figures("nlvr2")
    rows = [line.split(",") for line in outcome.submissions["nlvr2_predictions.csv"].splitlines()]
    assert len(rows) == 8 and {word for _, word in rows} <= {"False", "True"}
    assert rows[0][0] == "test-0-0-0"


def test_a_split_without_labels_gives_predictions_alone():
    task = EntailmentTask()
    data = run_of(task, "statements", lambda x: np.zeros(len(x), int))
    source = open_source(data.config.data, "emoji_tasks", "test")

    class Blind(Source):
        provides = source.provides

        def __len__(self):
            return len(source)

        def __getitem__(self, index):
            record = source[index]
            del record["label"]
            return record

    data = run_of(task, "statements", lambda x: 0 * x, {("emoji_tasks", "test"): Blind()})
    outcome = ClassEvaluation()(data, "ve")
    assert not outcome.figures and not outcome.rows
    (text,) = outcome.submissions.values()
    assert {row["label"] for row in json.loads(text)} == {"contradiction"}


def test_a_trained_model_is_given_its_inputs_as_in_training():
    rules = InputRules()
    made = ReasoningTask(region_types=(1, 2), joined=True).input_rules(rules)
    assert made.pair_types == (1, 2) and made.pictures_joined
    order = ("contradiction", "entailment", "neutral")
    assert EntailmentTask(order=order).input_rules(rules).entailment == order
    chosen = ChoiceTask(types=(0, 2), separator_follows=True, length=30).input_rules(rules)
    assert chosen.choice_types == (0, 2) and chosen.separator_follows
    assert chosen.text_of("choose").length == 30 and chosen.text_of("match").length is None
    assert CaptionTask(slots=12).input_rules(rules).tag_position == 12
