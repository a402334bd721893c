"""Tests of fitting a model to its tasks and data: sizes filled in, misfits refused, heads added."""

import logging

import numpy as np
import pytest

from vlp_jax.config import DataConfig, ModelConfig
from vlp_jax.data.sizes import read_sizes
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.tasks import TASKS
from vlp_jax.tasks.fit import fit_model

WORDS = Tokenizer.fit(["a dog"])
VOCABULARY = Vocabulary(WORDS, (), ("cat", "dog", "sun"), ("animal", "thing"))
BATCH = {
    "region_features": np.zeros((2, 4, 12), np.float32),
    "region_targets": np.zeros((2, 4, 12), np.float32),
    "region_class_scores": np.zeros((2, 4, 9), np.float32),
}


def built(tasks):
    return [TASKS[args.pop("kind", name)](**args) for name, args in (tasks or {}).items()]


def fitted(heads, fed=None, vocabulary=VOCABULARY, batches=None, **model):
    sizes = read_sizes(DataConfig(image_size=40), vocabulary, batches or {"coco": BATCH})
    config = ModelConfig(**{"vision": "regions", "heads": heads, **model})
    return fit_model(config, sizes, built(fed))


def test_encoders_have_the_sizes_of_the_data():
    model = fitted({"itm": {}})
    assert model.vision_args == {"feature_width": 12} and model.heads == {"itm": {}}
    assert model.text_args == {"vocab_size": WORDS.size}
    assert fitted({}, vision="vit").vision_args == {"image_size": 40}


def test_uniters_head_takes_the_number_of_scores():
    heads = {"region_classifier": {"hidden": 8}, "region_feature": {}}
    model = fitted(heads, {"region_class": {}, "region_feature": {}})
    assert model.heads["region_classifier"] == {"hidden": 8, "classes": 9}
    assert model.heads["region_feature"] == {}


def test_vilberts_head_predicts_scores_alone():
    head = {"regions": {"kind": "region_labels"}}
    model = fitted(head, {"region_class": {"head": "regions"}})
    sizes = {"objects": 9, "attributes": 0, "features": 0}
    assert model.heads["regions"] == {"kind": "region_labels"} | sizes


def test_a_head_that_two_tasks_read_has_the_parts_of_both():
    head = {"regions": {"kind": "region_labels"}}
    both = {"region_class": {"head": "regions"}, "region_feature": {"head": "regions"}}
    sizes = {"objects": 9, "attributes": 0, "features": 12}
    assert fitted(head, both).heads["regions"] == {"kind": "region_labels"} | sizes


def test_lxmerts_head_predicts_named_classes_attributes_and_features():
    model = fitted({"region_labels": {}}, {"region_labels": {}})
    assert model.heads["region_labels"] == {"objects": 3, "attributes": 2, "features": 12}
    part = fitted({"region_labels": {}}, {"region_labels": {"parts": ("attribute",)}})
    assert part.heads["region_labels"] == {"objects": 0, "attributes": 2, "features": 0}


def test_classes_that_no_source_names_keep_their_published_number():
    model = fitted({"region_labels": {}}, {"region_labels": {}}, vocabulary=Vocabulary(WORDS))
    assert model.heads["region_labels"] == {"features": 12}  # 1600 and 400 are the head's defaults


def test_sizes_without_a_task_stay_as_they_are():
    assert fitted({"region_labels": {"objects": 5}}).heads == {"region_labels": {"objects": 5}}


def test_missing_heads_are_added():
    answers = Vocabulary(WORDS, ("no", "yes"))
    tasks = {"itm": {}, "vqa": {}, "why": {"kind": "vqa", "head": "reason"}, "vqa_generative": {}}
    assert fitted({}, tasks, vocabulary=answers).heads == {
        "itm": {},
        "itc": {},
        "vqa": {"classes": 2},
        "reason": {"kind": "vqa", "classes": 2},
        "answer": {"vocab_size": WORDS.size},
    }


def test_an_unread_head_of_unknown_size_is_dropped(caplog):
    heads = {"itm": {}, "vqa": {}, "mlm": {}}
    with caplog.at_level(logging.WARNING):
        model = fitted(heads, {"itm": {}})
    assert model.heads.keys() == {"itm", "itc", "mlm"}
    assert caplog.messages == [
        "head vqa is off: no task reads it, and nothing says how large it is"
    ]
    sized = fitted({"vqa": {"classes": 7}}, {"itm": {}})
    assert sized.heads["vqa"] == {"classes": 7}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(heads={}, vision_args={"feature_width": 2048}), r"feature_width = 2048, .* has 12"),
        (dict(heads={}, text_args={"vocab_size": 7}), r"text_args.vocab_size = 7, but the data"),
        (
            dict(heads={"region_labels": {"objects": 1600}}, fed={"region_labels": {}}),
            r"heads.region_labels.objects = 1600, but the data has 3",
        ),
        (
            dict(heads={}, batches={"a": BATCH, "b": {"region_features": np.zeros((2, 4, 7))}}),
            "differ in the width of region_features: a 12, b 7",
        ),
        (dict(heads={}, vision="vitt"), 'config.model.vision: unknown .* Did you mean "vit"'),
        (
            dict(heads={"vqa": {"kind": "classifer"}}, fed={"vqa": {}}),
            'config.model.heads.vqa: unknown head "classifer". Did you mean "classifier"',
        ),
    ],
)
def test_a_misfit_is_said(given, message):
    with pytest.raises(ValueError, match=message):
        fitted(**given)


def test_a_head_of_no_size_that_no_task_reads_is_off(caplog):
    heads = {"vqa": {}, "itm": {}, "classifier": {"classes": 3}, "region_labels": {}}
    assert fitted(heads).heads.keys() == {"itm", "classifier", "region_labels"}
    assert "head vqa is off: no task reads it, and nothing says how large it is" in caplog.text
