"""Tests of sizes that follow from the data: those of region encoders and region heads."""

import numpy as np
import pytest

from vlp_jax.config import ExperimentConfig, build
from vlp_jax.data.assemble import Vocabulary
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.training.experiment import build_objectives
from vlp_jax.training.sizes import fill_sizes

WORDS = Tokenizer.fit(["a dog"])
VOCABULARY = Vocabulary(WORDS, (), ("cat", "dog", "sun"), ("animal", "thing"))
BATCH = {
    "region_features": np.zeros((2, 4, 12), np.float32),
    "region_targets": np.zeros((2, 4, 12), np.float32),
    "region_class_scores": np.zeros((2, 4, 9), np.float32),
}


def filled(heads, objectives=None, vocabulary=VOCABULARY, batches=None, **model):
    values = dict(model=dict(vision="regions", heads=heads, **model), objectives=objectives or {})
    config = build(ExperimentConfig, values, "config")
    built = build_objectives(objectives) if objectives else {}
    return fill_sizes(config, vocabulary, batches or {"coco": BATCH}, built).model


def test_features_and_words_have_the_width_of_the_data():
    model = filled({"itm": {}})
    assert model.vision_args == {"feature_width": 12} and model.heads == {"itm": {}}
    assert model.text_args == {"vocab_size": WORDS.size}


def test_uniters_head_takes_the_number_of_scores():
    heads = {"region_classifier": {"hidden": 8}, "region_feature": {}}
    model = filled(heads, {"region_class": {}, "region_feature": {}})
    assert model.heads["region_classifier"] == {"hidden": 8, "classes": 9}
    assert model.heads["region_feature"] == {}


def test_vilberts_head_predicts_scores_alone():
    head = {"regions": {"kind": "region_labels"}}
    model = filled(head, {"region_class": {"head": "regions"}})
    sizes = {"objects": 9, "attributes": 0, "features": 0}
    assert model.heads["regions"] == {"kind": "region_labels"} | sizes


def test_lxmerts_head_predicts_named_classes_attributes_and_features():
    model = filled({"region_labels": {}}, {"region_labels": {}})
    assert model.heads["region_labels"] == {"objects": 3, "attributes": 2, "features": 12}
    part = filled({"region_labels": {}}, {"region_labels": {"parts": ("attribute",)}})
    assert part.heads["region_labels"] == {"objects": 0, "attributes": 2, "features": 0}


def test_classes_that_no_source_names_keep_their_published_number():
    model = filled({"region_labels": {}}, {"region_labels": {}}, Vocabulary(WORDS, ()))
    assert model.heads["region_labels"] == {"features": 12}  # 1600 and 400 are the head's defaults


def test_sizes_without_an_objective_stay_as_they_are():
    assert filled({"region_labels": {"objects": 5}}).heads == {"region_labels": {"objects": 5}}


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(heads={}, vision_args={"feature_width": 2048}), r"feature_width = 2048, .* has 12"),
        (
            dict(heads={"region_labels": {"objects": 1600}}, objectives={"region_labels": {}}),
            r"heads.region_labels.objects = 1600, but the data has 3",
        ),
        (
            dict(heads={}, batches={"a": BATCH, "b": {"region_features": np.zeros((2, 4, 7))}}),
            "differ in the width of region_features: a 12, b 7",
        ),
    ],
)
def test_a_misfit_is_said(given, message):
    with pytest.raises(ValueError, match=message):
        filled(**given)
