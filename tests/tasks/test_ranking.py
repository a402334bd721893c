"""Ranking: which pairs are compared, both losses, and a head that ranks in retrieval."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.config import DataConfig, ExperimentConfig, ModelConfig, TrainingConfig
from vlp_jax.model import Forward, Views, build_model
from vlp_jax.model.model import init_params
from vlp_jax.parallel import unbox
from vlp_jax.tasks import build_tasks
from vlp_jax.tasks.ranking import RankingTask

SIZE = 8
BLOCK = dict(width=16, heads=2, mlp_width=16, layers=1, dropout=0.3)
MODEL = ModelConfig(
    vision_args=dict(image_size=8, patch_size=4, width=16, heads=2, mlp_width=16, layers=1),
    text_args=dict(vocab_size=20, **BLOCK, max_length=8),
    fusion_args={k: v for k, v in BLOCK.items() if k != "width"},
    heads=dict(rank=dict(kind="classifier", classes=1, form="linear")),
)

HARDEST = RankingTask(pictures=3, texts=2, candidates=SIZE - 1, pairs=4, head="rank")

# Scores of three own pairs, then of each with a wrong picture and with a wrong text.
SCORES = np.array([2.0, 0, 1, 0, 1, 0, -1, 0, 3], np.float32)[:, None]
GROUPS = SCORES.reshape(3, 3).T


def views(ids=(0, 1, 2)):
    return FakeViews({"image_id": np.array(ids, np.int32)}, ranking=SCORES)


def test_pairs_with_other_pictures_and_texts():
    drawn = RankingTask(pictures=1, texts=2).draw(views(ids=(5, 5, 6)))
    images, texts = (np.asarray(rows).reshape(4, 3) for rows in drawn)
    assert (images[[0, 2, 3]] == np.arange(3)).all() and (texts[:2] == np.arange(3)).all()
    assert images[1, :2].tolist() == [2, 2] and texts[2, :2].tolist() == [2, 2]


@pytest.fixture(scope="module")
def tiny():
    """A model that ranks, its parameters, and a batch with two images that occur twice."""
    rng = np.random.default_rng(0)
    model = build_model(MODEL)
    batch = {
        "image": rng.integers(0, 255, (SIZE, 8, 8, 3), dtype=np.uint8),
        "text_ids": rng.integers(5, 20, (SIZE, 5), dtype=np.int32),
        "text_mask": np.ones((SIZE, 5), bool),
        "image_id": np.array([0, 0, 1, 2, 3, 4, 5, 5], np.int32),
    }
    params = unbox(init_params(model, jax.random.key(0), std=0.5))
    return model, params, jax.tree.map(jnp.asarray, batch)


@pytest.mark.slow
def test_the_hardest_are_those_that_the_model_scores_highest(tiny):
    """With all others as candidates it is known which; dropout is off while they are chosen."""
    model, params, batch = tiny
    images, texts = np.divmod(np.arange(SIZE**2), SIZE)
    every = lambda views: views.head_of("rank", views.fused_pairs(images, texts), "all")[:, 0]
    scores = np.asarray(Forward(model, params)(every, batch)).reshape(SIZE, SIZE)
    same = batch["image_id"][:, None] == batch["image_id"]
    scores = np.where(same, -np.inf, scores)
    views = lambda params: Views(model, params, batch, key=jax.random.key(1), chunks=2)
    drawn = jax.jit(lambda params: HARDEST.draw(views(params)))(params)
    images, texts = (np.asarray(rows).reshape(6, 4) for rows in drawn)
    own = np.array([0, 2, 4, 6])
    assert (images[[0, 4, 5]] == own).all() and (texts[:4] == own).all()
    assert images[1:4].T.tolist() == np.argsort(-scores.T[own], axis=1)[:, :3].tolist()
    assert texts[4:].T.tolist() == np.argsort(-scores[own], axis=1)[:, :2].tolist()


@pytest.mark.slow
def test_the_hardest_are_learned_from(tiny):
    model, params, batch = tiny
    views = lambda params: Views(model, params, batch, key=jax.random.key(1), chunks=2)
    loss = lambda params: loss_of(HARDEST, views(params)).loss
    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    assert 0 < value < 1.2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradients))
    for part in ("vision", "text", "fusion", "heads_rank"):
        assert max(np.abs(x).max() for x in jax.tree.leaves(gradients[part])) > 0, part


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(candidates=2, texts=3), "at least the 3 that are taken of them"),
        (dict(candidates=8), "fewer than config.data.batch_size = 8"),
        (dict(pairs=3), "a divisor of config.data.batch_size = 8"),
        (dict(pairs=2), "a multiple of config.training.accumulate = 4"),
    ],
)
def test_candidates_that_a_batch_does_not_have(settings, message):
    config = ExperimentConfig(
        data=DataConfig(batch_size=8),
        training=TrainingConfig(accumulate=4),
        tasks={"ranking": settings},
    )
    with pytest.raises(ValueError, match=message):
        build_tasks(config)


def test_triplets():
    chance = 1 / (1 + np.exp(-GROUPS))
    wanted = np.maximum(0, 0.2 + chance[:, 1:] - chance[:, :1]).mean()
    result = loss_of(RankingTask(), views())
    assert result.loss == pytest.approx(wanted, rel=1e-6)
    assert result.metrics["ranking_accuracy"] == pytest.approx(1 / 3)


def test_choices():
    wanted = (np.log(np.exp(GROUPS).sum(1)) - GROUPS[:, 0]).mean()
    assert loss_of(RankingTask(form="choice"), views()).loss == pytest.approx(wanted, rel=1e-6)


def test_nothing_to_compare_with():
    with pytest.raises(ValueError, match="has to be compared"):
        RankingTask(pictures=0, texts=0)
