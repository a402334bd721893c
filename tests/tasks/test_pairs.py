"""Pairs that the data joined: labels become the head's classes, and each name has its pairing."""

import numpy as np
import pytest

from tests.tasks.fakes import FakeViews, loss_of
from vlp_jax.config import DataConfig, ExperimentConfig
from vlp_jax.tasks import build_tasks
from vlp_jax.tasks.pairs import PairTask, SentenceTask, TagsTask


@pytest.mark.parametrize("match_index", [0, 1])
def test_cross_entropy_of_the_labels(match_index):
    logits = np.array([[0.0, 1.0], [2.0, 0.0]], np.float32)
    views = FakeViews({"pair_labels": [1, 1]}, match_index=match_index, itm=logits)
    result = loss_of(PairTask(), views)
    wrong = 1 - match_index
    expected = np.log(np.exp(logits).sum(-1)) - logits[:, wrong]
    assert result.loss == pytest.approx(expected.mean(), rel=1e-6)
    assert result.metrics["pair_accuracy"] == 0.5


def test_three_classes():
    logits = np.eye(3, dtype=np.float32)[[0, 2, 1]]
    views = FakeViews({"pair_labels": [0, 2, 2]}, match_index=0, itm=logits)
    result = loss_of(TagsTask(exchange="oscarplus"), views)
    rest = np.log(np.e + 2)
    assert result.loss == pytest.approx(((rest - 1) * 2 + rest) / 3, rel=1e-6)
    assert result.metrics["pair_accuracy"] == pytest.approx(2 / 3)


def test_what_each_reads_and_exchanges():
    assert PairTask().reads == {"mlm_ids", "text_mask", "pair_labels"}
    assert PairTask(text="clean").reads == {"text_ids", "text_mask", "pair_labels"}
    exchanged = [task().exchange for task in (PairTask, TagsTask, SentenceTask)]
    assert exchanged == ["caption", "oscar", "second_caption"]


@pytest.mark.parametrize(
    ("name", "settings", "tags", "message"),
    [
        ("pair", {"exchange": "capton"}, False, r'exchange: unknown .* Did you mean "caption"'),
        (
            "contrastive_tags",
            {},
            False,
            "exchange = .* exchanges tags, .*tags = true",
        ),
        (
            "sentence_image",
            {},
            True,
            "exchange = .* shows a second caption, .*tags = false",
        ),
    ],
)
def test_what_is_exchanged_has_to_be_shown(name, settings, tags, message):
    config = lambda tags: ExperimentConfig(data=DataConfig(tags=tags), tasks={name: settings})
    with pytest.raises(ValueError, match=rf"config\.tasks\.{name}\." + message):
        build_tasks(config(tags))
    if not settings:
        assert build_tasks(config(not tags))
