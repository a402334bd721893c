"""Ranking: which pairs are compared, both losses, and a head that ranks in retrieval."""

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.tasks.ranking import RankingTask

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
