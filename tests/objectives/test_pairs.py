"""Pairs: labels become the head's classes, and half of the images are swapped for others."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.objectives.fakes import FakeViews
from vlp_jax.objectives import OBJECTIVES
from vlp_jax.objectives.matching import MatchingObjective
from vlp_jax.objectives.pairs import PairObjective, match_classes, swapped_pairs

ONE = jnp.ones(())


class SwapViews(FakeViews):
    """Views that note the pairs to be fused and the name under which they are shared."""

    def fused_pairs(self, texts, images, once=""):
        super().fused_pairs(texts, images)
        assert once == "swapped"
        return "fused"


@pytest.mark.parametrize(
    "match_index, classes", [(0, [0, 1, 2, 0]), (1, [1, 0, 2, 1]), (2, [2, 1, 0, 2])]
)
def test_label_0_is_the_class_of_matches(match_index, classes):
    assert match_classes(np.array([0, 1, 2, 0]), match_index).tolist() == classes


@pytest.mark.parametrize("match_index", [0, 1])
def test_cross_entropy_of_the_labels(match_index):
    logits = np.array([[0.0, 1.0], [2.0, 0.0]], np.float32)
    views = FakeViews({"pair_labels": [1, 1]}, match_index=match_index, pair=logits)
    result = PairObjective()(views, None, None, ONE)
    wrong = 1 - match_index
    expected = np.log(np.exp(logits).sum(-1)) - logits[:, wrong]
    assert result.loss == pytest.approx(expected.mean(), rel=1e-6)
    assert result.metrics["pair_accuracy"] == 0.5


def test_three_classes():
    logits = np.eye(3, dtype=np.float32)[[0, 2, 1]]
    result = PairObjective()(
        FakeViews({"pair_labels": [0, 2, 2]}, match_index=0, pair=logits), None, None, ONE
    )
    rest = np.log(np.e + 2)
    assert result.loss == pytest.approx(((rest - 1) * 2 + rest) / 3, rel=1e-6)
    assert result.metrics["pair_accuracy"] == pytest.approx(2 / 3)


def test_the_models_names_mean_the_same():
    assert OBJECTIVES["contrastive_tags"] is OBJECTIVES["sentence_image"] is OBJECTIVES["pair"]
    assert PairObjective().reads == {"mlm_ids", "text_mask", "pair_labels"}
    assert PairObjective(text="clean").reads == {"text_ids", "text_mask", "pair_labels"}


def test_about_half_of_the_images_are_another():
    views = SwapViews({"image_id": np.arange(400)})
    fused, matched = swapped_pairs(views)
    texts, images = views.pairs
    assert fused == "fused" and texts.tolist() == list(range(400))
    assert matched.tolist() == (images == texts).tolist()
    assert 140 < matched.sum() < 260 and len(set(images.tolist())) > 250


def test_a_swap_for_the_same_image_counts_as_matched():
    _, matched = swapped_pairs(SwapViews({"image_id": [7, 7, 7, 7]}))
    assert matched.all()


@pytest.mark.parametrize("match_index", [0, 1])
def test_matching_of_swapped_pairs(match_index):
    views = SwapViews({"image_id": np.arange(32)}, match_index=match_index)
    _, matched = swapped_pairs(views)
    views.outputs["match"] = 9 * jnp.eye(2)[jnp.where(matched, match_index, 1 - match_index)]
    result = MatchingObjective(negatives="swapped")(views, None, None, ONE)
    assert result.metrics["itm_accuracy"] == 1.0
    assert result.loss == pytest.approx(np.log1p(np.exp(-9)), rel=1e-3)
    assert MatchingObjective(negatives="swapped").heads == ("itm",)
