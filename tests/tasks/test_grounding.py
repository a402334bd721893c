"""Grounding without boxes: the heat of an expression, and the share of boxes found by it."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlp_jax.config import DataConfig, EvaluationConfig, ExperimentConfig, ModelConfig
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import Forward, build_model
from vlp_jax.model.heat_maps import heat_maps
from vlp_jax.model.model import init_params
from vlp_jax.parallel import unbox
from vlp_jax.tasks import Run
from vlp_jax.tasks.grounding import GroundingEvaluation, GroundingTask, expression_heat

BLOCK = dict(width=16, heads=2, mlp_width=16, layers=2)
MODEL = ModelConfig(
    vision_args=dict(image_size=12, patch_size=4, **BLOCK),
    text_args=dict(vocab_size=20, **BLOCK, max_length=8),
    fusion_args={k: v for k, v in BLOCK.items() if k != "width"},
    heads=dict(itm={}),
)


@pytest.fixture(scope="module")
def forward():
    model = build_model(MODEL)
    return Forward(model, unbox(init_params(model, jax.random.key(0), std=0.5)))


def batch(length=5):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 255, (2, 12, 12, 3), dtype=np.uint8),
        "text_ids": rng.integers(5, 20, (2, 8), dtype=np.int32)[:, :length],
        "text_mask": np.arange(length) < np.array([[5], [3]]),
    }


@pytest.mark.slow
def test_the_heat_of_an_expression_is_that_of_its_words(forward):
    """Of its real words alone, by the raw logit of "match", without the class token."""
    heat = np.asarray(forward(expression_heat, batch()))
    assert heat.shape == (2, 3, 3) and (heat > 0).any((1, 2)).all() and (heat >= 0).all()

    def score(model, image, text):
        return model.head("itm")(model.pool(model.fuse(image, text)))[:, 1]

    def by_word(views):
        return heat_maps(views.model, views.params, score, views.image(), views.text())

    words = np.asarray(forward(by_word, batch()))
    wanted = [words[0].sum(0)[1:], words[1, :3].sum(0)[1:]]
    np.testing.assert_allclose(heat.reshape(2, 9), wanted, rtol=1e-5)


@pytest.mark.slow
def test_padding_has_no_heat(forward):
    both = [np.asarray(forward(expression_heat, batch(length))) for length in (5, 8)]
    np.testing.assert_allclose(*both, rtol=1e-4, atol=1e-7)


def test_patches_that_form_no_square(monkeypatch):
    monkeypatch.setattr("vlp_jax.tasks.grounding.gradcam", lambda views: jnp.zeros((1, 2, 8)))
    views = SimpleNamespace(text=lambda: SimpleNamespace(mask=jnp.ones((1, 2), bool)))
    with pytest.raises(ValueError, match="the vision encoder gives 8 tokens"):
        expression_heat(views)


def evaluated(forward, **settings):
    data = DataConfig(
        source="emoji_tasks",
        source_args={"emoji_tasks": dict(form="expressions", concepts=12, canvas=64, size=8)},
        image_size=64,
    )
    config = ExperimentConfig(data=data, evaluation=EvaluationConfig(batch_size=3))
    run = Run(config, Vocabulary(Tokenizer.fit(["the dog"])), forward, GroundingTask())
    return run, GroundingEvaluation(**settings)(run, "refcoco")


def heat_by_number(maps, function, batch):
    return maps[batch["image_id"]]


@pytest.mark.parametrize("right", [True, False])
def test_the_evaluation(right):
    run, _ = evaluated(lambda function, batch: np.ones((3, 4, 4)))
    source = run.source(GroundingEvaluation())
    maps = np.zeros((8, 64, 64))
    for i in range(8):  # the box that is meant is hot, or all else
        x1, y1, x2, y2 = (64 * np.array(source.annotation(i)["target_box"])).round().astype(int)
        maps[i, y1:y2, x1:x2] = 1
    maps = maps if right else 1 - maps
    _, outcome = evaluated(partial(heat_by_number, maps))
    alone = np.mean([len(source[i]["proposals"]) == 1 for i in range(8)])
    assert outcome.figures["refcoco_accuracy"] == pytest.approx(1 if right else 0, abs=alone)
    assert alone < 0.5 < outcome.figures["refcoco_accuracy"] + (not right)
    rows = json.loads(outcome.submissions["refcoco_predictions.json"])["predictions"]
    assert [row["sent_id"] for row in rows] == [f"test-{i}-0-0" for i in range(8)]
    assert 0 < outcome.figures["refcoco_chance"] < 1


def test_no_box_is_found_without_heat():
    _, outcome = evaluated(lambda function, batch: np.zeros((3, 4, 4)))
    assert outcome.figures["refcoco_accuracy"] == 0
    assert outcome.figures["refcoco_blind"] > 0


def test_proposals_that_are_shares_already():
    record = {"picture_size": (640, 480), "proposals": np.array([[0.1, 0.1, 0.5, 0.5]])}
    with pytest.raises(ValueError, match="reach to 0.5 in a picture of 640 x 480 pixels: they are"):
        GroundingEvaluation()._best(record, record["proposals"], np.ones((4, 4)))
