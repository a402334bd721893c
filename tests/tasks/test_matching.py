"""Tests of matching: labels and loss by hand, and which pairs are made."""

import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.chains import TOKENIZER, feed_of
from tests.model.tiny import random_batch, random_params, tiny_model
from tests.tasks.fakes import FakeViews, loss_of
from tests.training.tiny import tiny
from vlp_jax.data.transforms import Example
from vlp_jax.model import Forward, Views
from vlp_jax.tasks import Step
from vlp_jax.tasks.matching import MatchingTask, match_classes, match_log_odds, swapped_pairs

MATCH = [[0.0, 1], [2, 0]]
MISMATCH = [[1.0, 0], [0, 3], [0, 0], [1, 1]]
VECTORS = np.eye(2, dtype=np.float32)


def result(match_index):
    views = FakeViews(
        {"image_id": [4, 9]},
        VECTORS,
        VECTORS,
        match_index=match_index,
        match=MATCH,
        mismatch=MISMATCH,
    )
    return loss_of(MatchingTask(), views), views


@pytest.mark.parametrize(
    ("match_index", "loss", "accuracy"),
    [
        # log(1 + exp(·)) of -1, 2; -1, 3, 0, 0.
        (1, (0.313262 + 2.126928 + 0.313262 + 3.048587 + 2 * 0.693147) / 6, 4 / 6),
        # log(1 + exp(·)) of 1, -2; 1, -3, 0, 0.
        (0, (1.313262 + 0.126928 + 1.313262 + 0.048587 + 2 * 0.693147) / 6, 2 / 6),
    ],
)
def test_labels_and_loss(match_index, loss, accuracy):
    found, _ = result(match_index)
    assert found.loss == pytest.approx(loss, abs=1e-6)
    assert found.metrics["itm_accuracy"] == pytest.approx(accuracy)
    assert found.state is None


def test_each_text_gets_a_wrong_image_and_each_image_a_wrong_text():
    _, views = result(1)
    images, texts = views.pairs
    assert texts.tolist() == [0, 1, 1, 0] and images.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("match_index", [0, 1])
def test_where_all_images_are_the_same_every_pair_matches(match_index):
    views = FakeViews(
        {"image_id": [5, 5]},
        match_index=match_index,
        match=MATCH,
        mismatch=MISMATCH,
    )
    found = loss_of(MatchingTask(negatives="random"), views)
    logits = np.array(MATCH + MISMATCH)
    own, other = logits[:, match_index], logits[:, 1 - match_index]
    assert found.loss == pytest.approx(np.log1p(np.exp(other - own)).mean(), rel=1e-5)


def test_hard_negatives_follow_the_similarities_in_both_directions():
    # Rows are images. Apart from its own, image 0 is nearest to text 1, 1 to text 2, 2 to text 0;
    # text 0 is nearest to image 2, text 1 to image 0, text 2 to image 1.
    similarities = 1e3 * np.array([[9, 5, 4], [6, 9, 7], [8, 3, 9]], np.float32)
    views = FakeViews(
        {"image_id": [0, 1, 2]},
        similarities,
        np.eye(3),
        match=np.zeros((3, 2)),
        mismatch=np.zeros((6, 2)),
    )
    loss_of(MatchingTask(), views)
    images, texts = views.pairs
    assert images[:3].tolist() == [2, 0, 1]
    assert texts[3:].tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    "options, ramp, factor",
    [
        ({}, 0.25, 1.0),
        (dict(hardness=0.3), 0.25, 0.3),
        (dict(hardness=0.8, hardness_ramp=True), 0.25, 0.2),
        (dict(hardness_ramp=True), 0.0, 0.0),
    ],
)
def test_hardness_scales_the_log_weights_of_the_draw(options, ramp, factor):
    rng = np.random.default_rng()
    vectors = rng.normal(size=(2, 4, 3)).astype(np.float32)
    views = FakeViews({"image_id": np.arange(4)}, *vectors, temperature=0.5)
    by_image, by_text = MatchingTask(**options).draw_logits(
        Step(views, None, None, jnp.asarray(ramp))
    )
    similarities = factor * vectors[0] @ vectors[1].T / 0.5
    np.testing.assert_allclose(by_image, similarities, atol=1e-5)
    np.testing.assert_allclose(by_text, similarities.T, atol=1e-5)


def test_random_negatives_ignore_the_similarities():
    views = FakeViews(
        {"image_id": np.arange(64)}, match=np.zeros((64, 2)), mismatch=np.zeros((128, 2))
    )
    loss_of(MatchingTask(negatives="random"), views)
    images, texts = views.pairs
    own = np.arange(64)
    assert (images[:64] != own).all() and (texts[64:] != own).all()
    assert len(set(images[:64].tolist())) > 20


@pytest.mark.parametrize("negatives", ["hard", "random"])
def test_negatives_within_a_local_batch(negatives):
    size, local = 64, 4
    views = FakeViews(
        {"image_id": np.arange(size)},
        *np.random.default_rng().normal(size=(2, size, 3)),
        match=np.zeros((size, 2)),
        mismatch=np.zeros((2 * size, 2)),
    )
    loss_of(MatchingTask(negatives=negatives, local_batch=local), views)
    images, texts = views.pairs
    own = np.arange(size)
    for drawn in (images[:size], texts[size:]):
        assert (drawn != own).all() and (drawn // local == own // local).all()
        assert len(set((drawn - own).tolist())) > 3


def test_a_local_batch_that_is_the_batch_draws_by_the_same_weights():
    vectors = np.random.default_rng().normal(size=(2, 8, 3))
    step = Step(FakeViews({"image_id": np.arange(8)}, *vectors), None, None, jnp.ones(()))
    whole, parts = (MatchingTask(local_batch=n).draw_logits(step) for n in (None, 4))
    for one, cut in zip(whole, parts):
        np.testing.assert_allclose(cut, [one[:4, :4], one[4:, 4:]], atol=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"local_batch": 5}, "batch_size = 8 cannot be divided into parts of that size"),
        ({"local_batch": 4, "negatives": "swapped"}, 'is not for negatives = "swapped"'),
    ],
)
def test_a_local_batch_that_does_not_fit(options, message):
    config = tiny(data__batch_size=8)
    with pytest.raises(ValueError, match=rf"config.tasks.itm.local_batch = \d.*{message}"):
        MatchingTask(**options).check("config.tasks.itm", config, {})


def test_foils_are_not_for_swapped_images():
    with pytest.raises(ValueError, match='itm.foils = 0.5 is not for negatives = "swapped"'):
        MatchingTask(foils=0.5, negatives="swapped").check("config.tasks.itm", tiny(), {})


def test_heads_it_needs():
    assert set(MatchingTask().heads(None)) == {"itm", "itc"}
    assert set(MatchingTask(negatives="random").heads(None)) == {"itm"}
    assert set(MatchingTask(negatives="swapped").heads(None)) == {"itm"}


def texts_with_foils(share, have=True):
    """Returns the images and texts of the wrong pairs of 64 examples that have a foil each."""
    size = 64
    mask = np.broadcast_to(np.asarray(have)[..., None], (size, 3))
    foils = {"foil_ids": np.zeros((size, 3)), "foil_mask": mask}
    views = FakeViews(
        {"image_id": np.arange(size)} | foils,
        match=np.zeros((size, 2)),
        mismatch=np.zeros((2 * size, 2)),
    )
    result = loss_of(MatchingTask(negatives="random", foils=share), views)
    assert result.loss == pytest.approx(np.log(2), abs=1e-6)
    return views.pairs


def test_a_share_of_the_negative_texts_are_the_images_own_foils():
    own = np.arange(64)
    images, texts = texts_with_foils(0.5)
    wrong_texts = texts[64:]
    is_foil = wrong_texts >= 64
    np.testing.assert_array_equal(wrong_texts[is_foil], 64 + own[is_foil])
    assert 12 <= is_foil.sum() <= 52
    # The other negatives are as without foils: another image's text, and another image.
    assert (wrong_texts[~is_foil] != own[~is_foil]).all()
    np.testing.assert_array_equal(texts[:64], own)
    assert (images[:64] != own).all() and (images[:64] < 64).all()
    np.testing.assert_array_equal(images[64:], own)


def test_all_or_none_of_the_negative_texts_are_foils():
    own = np.arange(64)
    np.testing.assert_array_equal(texts_with_foils(1.0)[1][64:], 64 + own)
    assert (texts_with_foils(0.0)[1][64:] < 64).all()


def test_an_image_without_a_foil_takes_another_ones_text():
    own, have = np.arange(64), np.arange(64) % 3 > 0
    texts = texts_with_foils(1.0, have)[1][64:]
    np.testing.assert_array_equal(texts[have], 64 + own[have])
    assert (texts[~have] < 64).all() and (texts != own).all()


class SwapViews(FakeViews):
    """Views that note the pairs to be fused and the name under which they are shared."""

    def fused_pairs(self, images, texts, fields=(), once=""):
        super().fused_pairs(images, texts)
        assert once == "swapped"
        return "fused"


@pytest.mark.parametrize(
    "match_index, classes", [(0, [0, 1, 2, 0]), (1, [1, 0, 2, 1]), (2, [2, 1, 0, 2])]
)
def test_label_0_is_the_class_of_matches(match_index, classes):
    assert match_classes(np.array([0, 1, 2, 0]), match_index).tolist() == classes


def test_about_half_of_the_images_are_another():
    views = SwapViews({"image_id": np.arange(400)})
    fused, matched = swapped_pairs(views)
    images, texts = views.pairs
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
    result = loss_of(MatchingTask(negatives="swapped"), views)
    assert result.metrics["itm_accuracy"] == 1.0
    assert result.loss == pytest.approx(np.log1p(np.exp(-9)), rel=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("index", [0, 1])
def test_match_is_the_log_odds(index, classes):
    rng = np.random.default_rng()
    model = tiny_model(heads={"itm": {"match_index": index, "classes": classes}})
    forward, batch = Forward(model, random_params(model, rng)), random_batch(rng, size=3)
    pooled = np.asarray(forward(Views.fused, batch).text.states[:, 0])
    dense = forward.params["heads_itm"]["dense"]
    shares = np.exp(pooled @ dense["kernel"] + dense["bias"])
    exact = np.log(shares[:, index] / (shares.sum(-1) - shares[:, index]))
    np.testing.assert_allclose(forward(match_log_odds, batch), exact, atol=1e-4)


def foil_of(foils, seed=0):
    """Returns the words of the batch fields of a record with these foils."""
    (made,) = MatchingTask(foils=0.5).transforms(feed_of(provides={"caption", "foils"}))
    fields = made(Example({"foils": foils}, None), np.random.default_rng(seed))
    assert fields.keys() == {"foil_ids", "foil_mask"} and fields["foil_ids"].shape == (8,)
    return TOKENIZER.decode(fields["foil_ids"][fields["foil_mask"]])


def test_foils_are_drawn_from_those_of_the_record():
    drawn = {foil_of(["red dog", "blue apple"], seed) for seed in range(20)}
    assert drawn == {"red dog", "blue apple"}
    for foils in ([""], None):
        with pytest.raises(ValueError, match='no caption with words in it|no "foils"'):
            foil_of(foils)


def foil_of_caption(place, foils):
    (made,) = MatchingTask(foils=0.5).transforms(feed_of(provides={"caption", "foils"}))
    record = {"captions": ["red dog", "blue apple"], "foils": foils}
    example = Example(record, None)
    if place is not None:
        example["caption_place"] = place
    fields = made(example, np.random.default_rng(0))
    assert fields["foil_ids"].dtype == np.int32 and fields["foil_mask"].dtype == bool
    assert fields["foil_ids"].shape == fields["foil_mask"].shape == (8,)
    return TOKENIZER.decode(fields["foil_ids"][fields["foil_mask"]])


def test_a_foil_is_one_of_the_shown_caption_where_each_has_its_own():
    assert foil_of_caption(0, [["blue dog"], ["red apple"]]) == "blue dog"
    assert foil_of_caption(1, [["blue dog"], ["red apple"]]) == "red apple"
    assert foil_of_caption(1, [["blue dog"], []]) == ""
    assert foil_of_caption(0, np.array([["blue dog"], ["red apple"]])) == "blue dog"
    assert foil_of_caption(None, [["blue dog"], ["red apple"]]) == ""
    with pytest.raises(ValueError, match="foils of 1 captions, and 2 captions: expected one list"):
        foil_of_caption(0, [["blue dog"]])


def test_foils_are_made_in_training_where_there_are_some():
    made = lambda share, **feed: MatchingTask(foils=share).transforms(feed_of(**feed))
    given = {"caption", "foils"}
    assert len(made(0.5, provides=given)) == 1
    assert made(0.5, provides={"caption"}) == made(0.0, provides=given) == ()
    assert made(0.5, provides=given, train=False) == ()
