"""Tests of turning records into examples."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from tests.data.chains import TOKENIZER, chain, feed_of, questions, tasks_chain, words
from tests.data.fakes import FakeSource
from vlp_jax.data.batch import IGNORE, check_batch, stack
from vlp_jax.data.masking import Masking
from vlp_jax.data.pairing import PAIRINGS, ExchangeTexts
from vlp_jax.data.region_masking import REGION_MASKINGS, HideRegions, RegionMasking
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.tasks.answers import AnswerTask
from vlp_jax.tasks.matching import FoilFields, MatchingTask


def example(record=None, seed=0, *own, **options):
    record = record or FakeSource()[3]
    return chain(*own, **options)(record, np.random.default_rng(seed))


def test_every_field_of_a_full_record():
    made = chain(words(), questions(), train=False)
    out = made(FakeSource()[3], np.random.default_rng(0))
    check_batch(stack([out, out]), made.fields)
    assert set(out) == {
        "image_id", "image", "region_boxes", "region_mask", "text_ids", "text_mask",
        "mlm_ids", "mlm_labels", "question_ids", "question_mask", "answer_scores",
    }  # fmt: skip
    assert out["image"].shape == (16, 16, 3) and out["image_id"] == 3
    assert TOKENIZER.decode(out["text_ids"]) == FakeSource()[3]["captions"][0]
    assert TOKENIZER.decode(out["question_ids"]) == "is there a dog"
    assert out["answer_scores"].tolist() == [0, 1]
    np.testing.assert_allclose(out["region_boxes"], [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0] * 4])
    assert out["region_mask"].tolist() == [True, True, False]


@pytest.mark.parametrize(
    "provides, fields",
    [
        ({"image"}, {"image_id", "image"}),
        ({"caption"}, {"image_id", "text_ids", "text_mask"}),
        ({"question"}, {"image_id"}),  # a task makes fields of it
        ({"regions"}, {"image_id", "image", "region_boxes", "region_mask"}),
    ],
)
def test_only_what_the_source_provides(provides, fields):
    assert set(example(provides=provides)) == fields


def test_training_draws_captions_and_evaluation_takes_the_first():
    record = FakeSource()[0] | {"captions": ["red dog", "blue apple", "left face"]}
    seen = {TOKENIZER.decode(example(record, seed)["text_ids"]) for seed in range(30)}
    assert seen == set(record["captions"])
    fixed = {TOKENIZER.decode(example(record, s, train=False)["text_ids"]) for s in range(9)}
    assert fixed == {"red dog"}


def test_captions_without_words_are_passed_over():
    record = FakeSource()[0] | {"captions": ["", "...", "red dog"]}
    for seed in range(9):
        assert TOKENIZER.decode(example(record, seed)["text_ids"]) == "red dog"


def test_a_seed_fixes_the_example_and_masks_stay_on_ordinary_tokens():
    same = [example(None, 4, words(), questions(), augment="albef") for _ in range(2)]
    for name, value in same[0].items():
        np.testing.assert_array_equal(value, same[1][name])
    out = example(None, 0, words(Masking(probability=1.0)), add_sep=True)
    ends = np.isin(out["text_ids"], (TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.pad_id))
    assert (out["mlm_labels"][ends] == IGNORE).all() and (out["mlm_labels"][~ends] >= 0).all()


def test_flip_false_never_flips():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 255
    record = FakeSource()[0] | {"image": pixels, "boxes": np.array([[0, 0, 8, 16]], np.float32)}
    options = {"provides": {"image", "regions"}, "augment": "crop_flip"}
    left = [example(record, s, flip=False, **options)["image"] for s in range(40)]
    assert all(image[:, 0].mean() >= image[:, -1].mean() for image in left)
    either = [example(record, s, **options)["image"] for s in range(40)]
    assert any(image[:, 0].mean() < image[:, -1].mean() for image in either)
    assert example(record, train=False, **options)["region_boxes"][0].tolist() == [0, 0, 0.5, 1]


def test_tags_follow_the_caption_as_second_segment():
    out = example(tags=True, text_length=12, train=False, text_style="plain")
    caption = FakeSource()[3]["captions"][0]
    assert TOKENIZER.decode(out["text_ids"]) == f"{caption} dog red apple"
    assert out["text_segments"].tolist() == [0] * 7 + [1] * 4 + [0]
    few = example(tags=True, text_length=12, train=False, regions=1)
    assert TOKENIZER.decode(few["text_ids"]) == f"{caption} dog"


def test_it_can_be_pickled():
    made = chain(words(), questions(), augment="albef")
    copy = pickle.loads(pickle.dumps(made))
    ours, theirs = (c(FakeSource()[5], np.random.default_rng(1)) for c in (made, copy))
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": b"junk"}, "not a picture"),
        ({"image": None}, 'no "image"'),
        ({"captions": []}, "no caption with words"),
        ({"captions": [None]}, "caption is a NoneType"),
        ({"question": " ?"}, "no question with words in it"),
        ({"answers": {"yes": 2.0}}, "score 2.0, expected 0 to 1"),
        ({"boxes": np.array([[0, 0, 99, 5]])}, "outside the picture of 32 x 24"),
        ({"image_id": 2**40}, "does not fit 32 bits"),
    ],
)
def test_a_bad_record_is_explained(change, message):
    with pytest.raises(ValueError, match=message):
        example(FakeSource()[0] | change, 0, questions())


@pytest.mark.parametrize(
    "change, message",
    [
        ({"augment": "flip_crop"}, 'config.data.augment: unknown augmentation "flip_crop"'),
        ({"text_style": "bert"}, 'config.data.text_style: unknown text style "bert"'),
        ({"tags": True, "provides": {"caption"}}, "config.data.tags = true needs a source"),
        (
            {"region_pixels": 2, "provides": {"region_features"}},
            "region_pixels = 2 cuts features out of pictures, and the source provides",
        ),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        chain(**change)


def test_foil_is_one_of_the_records():
    record = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "image_id": 1,
        "captions": ["a dog above a cat"],
        "foils": ["a cat above a dog", "a dog below a cat"],
    }
    tokenizer = Tokenizer.fit(record["captions"] + record["foils"])
    texts = feed_of(vocabulary=Vocabulary(tokenizer)).texts
    made = chain(FoilFields(texts, 8), provides={"image", "caption", "foils"})
    seen = {tokenizer.decode(made(record, np.random.default_rng(i))["foil_ids"]) for i in range(20)}
    assert seen == set(record["foils"])
    without = tasks_chain(MatchingTask(foils=0.5), provides={"image", "caption"})
    assert "foil_ids" not in without(record, np.random.default_rng(0))


DETECTED = {"caption", "region_features"}


def detected(index=0, count=2):
    """A record without a picture: features that say whose they are."""
    boxes = np.array([[0, 0, 16, 12], [16, 12, 32, 24]], np.float32)[:count]
    features = np.full((count, 4), index + 1, np.float32)
    extra = {"boxes": boxes, "region_features": features, "width": 32, "height": 24}
    return {"image_id": index, "captions": ["red dog"], "labels": ["dog", "apple"]} | extra


def test_a_detectors_record_needs_no_picture():
    out = example(detected(), provides=DETECTED, tags=True, text_length=12)
    assert {"image", "region_hidden", "pair_labels"}.isdisjoint(out)
    assert out["region_features"][:, 0].tolist() == [1, 1, 0]
    np.testing.assert_allclose(out["region_boxes"][1], [0.5, 0.5, 1, 1])
    assert TOKENIZER.decode(out["text_ids"]) == "red dog dog apple"
    with pytest.raises(ValueError, match='no "region_features"'):
        example(detected() | {"region_features": None}, provides=DETECTED)


def test_a_detectors_boxes_do_not_follow_the_pictures_augmentation():
    record = detected() | {"image": np.zeros((24, 32, 3), np.uint8)}
    for seed in range(5):
        out = example(record, seed, provides={*DETECTED, "image"}, augment="crop_flip")
        assert out["image"].shape == (16, 16, 3)
        np.testing.assert_allclose(out["region_boxes"][0], [0, 0, 0.5, 0.5])


def test_pixels_of_boxes_become_features_of_the_augmented_picture():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = 255
    record = FakeSource()[0] | {"image": pixels, "boxes": np.array([[0, 0, 16, 32]], np.float32)}
    options = dict(provides={"regions"}, augment="crop_flip", region_pixels=2)
    for seed in range(20):
        out = example(record, seed, **options)
        assert out["region_features"].shape == (3, 12)
        if out["region_mask"][0]:  # the box and what it shows move together
            assert out["region_features"][0].min() > 1


def hide(masking):
    return HideRegions(masking, 3)


def test_hidden_regions_are_zero_and_the_global_one_is_not_hidden():
    options = dict(provides=DETECTED, global_region=True)
    out = example(detected(), 0, hide(RegionMasking(1.0)), **options)
    assert not out["region_features"].any() and out["region_mask"].tolist() == [True] * 3 + [False]
    assert out["region_hidden"].tolist() == [False, True, True, False]
    clean = example(detected(), **options)
    assert "region_hidden" not in clean and clean["region_features"][0].tolist() == [1] * 4


def test_features_of_another_image_stand_in_for_hidden_ones():
    masking = replace(REGION_MASKINGS["lxmert"], probability=1.0)
    make = chain(hide(masking), provides=DETECTED)
    draws, shown = [], []
    for seed in range(60):
        others = lambda draw: draws.append(draw) or detected(8)
        out = make(detected(), np.random.default_rng(seed), others)
        shown += out["region_features"][:2, 0].tolist()
    assert set(shown) == {0, 1, 9} and set(draws) == {1}
    with pytest.raises(ValueError, match="needs the other records"):
        for seed in range(60):
            make(detected(), np.random.default_rng(seed))


@pytest.mark.parametrize("predict", [True, False])
def test_hidden_regions_of_wrong_pairs_are_predicted_unless_told_otherwise(predict):
    exchanged = ExchangeTexts(PAIRINGS["caption"], predict_wrong_pairs=predict)
    make = chain(hide(RegionMasking(1.0)), exchanged, provides=DETECTED)
    seen = set()
    for seed in range(20):
        out = make(detected(), np.random.default_rng(seed), lambda draw: detected(3))
        assert not out["region_features"].any()  # hidden all the same
        assert out["region_hidden"].any() == (predict or out["pair_labels"] == 0)
        seen.add(int(out["pair_labels"]))
    assert seen == {0, 1}


def test_several_questions_have_an_axis_of_their_own():
    record = FakeSource()[3] | {"more_questions": []}
    made = chain(questions(3))
    shown = made(record, np.random.default_rng(0))
    assert shown["question_ids"].shape == (3, 6) and shown["answer_scores"].shape == (3, 2)
    check_batch(stack([shown, shown]), made.fields)
    assert example(record, 0, questions())["question_ids"].ndim == 1


def test_questions_need_answers():
    with pytest.raises(ValueError, match="answer vocabulary is empty"):
        questions(vocabulary=Vocabulary(TOKENIZER))


def test_several_questions_need_a_source_that_has_them():
    with pytest.raises(ValueError, match="questions = 3 .* the source gives one question"):
        tasks_chain(AnswerTask(questions=3))
    several = FakeSource.provides | {"more_questions"}
    record = FakeSource()[3] | {"more_questions": []}
    for train, shape in ((True, (3, 25)), (False, (25,))):
        made = tasks_chain(AnswerTask(questions=3), provides=several, train=train)
        assert made(record, np.random.default_rng(0))["question_ids"].shape == shape
