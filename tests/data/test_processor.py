"""Tests of turning records into examples."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from tests.data.fakes import WORDS, FakeSource
from vlp_jax.data.batch import IGNORE, check_batch, stack
from vlp_jax.data.masking import Masking
from vlp_jax.data.pairing import PAIRINGS
from vlp_jax.data.processor import Processor
from vlp_jax.data.region_masking import REGION_MASKINGS, RegionMasking
from vlp_jax.data.tokenizer import Tokenizer

TOKENIZER = Tokenizer.fit([" ".join(WORDS), "is there a dog"])
ANSWERS = ("no", "yes")


def processor(**changes):
    options = dict(
        tokenizer=TOKENIZER, provides=FakeSource.provides, image_size=16, text_length=8,
        question_length=6, regions=3, answers=ANSWERS, mlm=Masking(),
    )  # fmt: skip
    return Processor(**(options | changes))


def example(record=None, seed=0, **changes):
    record = record or FakeSource()[3]
    return processor(**changes)(record, np.random.default_rng(seed))


def test_every_field_of_a_full_record():
    out = example(train=False)
    check_batch(stack([out, out]))
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
        ({"question"}, {"image_id", "question_ids", "question_mask", "answer_scores"}),
        ({"regions"}, {"image_id", "image", "region_boxes", "region_mask"}),
    ],
)
def test_only_what_the_source_provides(provides, fields):
    assert set(example(provides=frozenset(provides), mlm=None)) == fields


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
    same = [example(seed=4, augment="albef") for _ in range(2)]
    for name, value in same[0].items():
        np.testing.assert_array_equal(value, same[1][name])
    out = example(mlm=Masking(probability=1.0), add_sep=True)
    ends = np.isin(out["text_ids"], (TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.pad_id))
    assert (out["mlm_labels"][ends] == IGNORE).all() and (out["mlm_labels"][~ends] >= 0).all()


def test_flip_false_never_flips():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:, :8] = 255
    record = FakeSource()[0] | {"image": pixels, "boxes": np.array([[0, 0, 8, 16]], np.float32)}
    options = {"provides": frozenset({"image", "regions"}), "augment": "crop_flip"}
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
    copy = pickle.loads(pickle.dumps(processor(augment="albef")))
    record = FakeSource()[5]
    ours, theirs = (p(record, np.random.default_rng(1)) for p in (processor(augment="albef"), copy))
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"image": b"junk"}, "not a picture"),
        ({"image": None}, 'no "image"'),
        ({"captions": []}, "no caption with words"),
        ({"captions": [None]}, "caption is a NoneType"),
        ({"question": " ?"}, "question has no words"),
        ({"answers": {"yes": 2.0}}, "score 2.0, expected 0 to 1"),
        ({"boxes": np.array([[0, 0, 99, 5]])}, "outside the picture of 32 x 24"),
        ({"image_id": 2**40}, "does not fit 32 bits"),
    ],
)
def test_a_bad_record_is_explained(change, message):
    with pytest.raises(ValueError, match=message):
        example(FakeSource()[0] | change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"provides": frozenset({"captions"})}, 'Did you mean "caption"'),
        ({"augment": "flip_crop"}, "unknown augmentation"),
        ({"text_style": "bert"}, "unknown text style"),
        ({"answers": ()}, "answer vocabulary is empty"),
        ({"image_size": 0}, "image_size is 0"),
        ({"tags": True, "provides": frozenset({"caption"})}, "tags need"),
        ({"region_pixels": -1}, "region_pixels is -1"),
        (
            {"region_pixels": 2, "provides": frozenset({"region_features"})},
            "region_pixels = 2 cuts features out of pictures, and the source provides",
        ),
        ({"pairing": PAIRINGS["oscar"]}, "exchanges tags, which the text has not"),
        ({"pairing": PAIRINGS["second_caption"], "tags": True}, "shows a second caption, not tags"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(processor(), **change)


def test_foil_is_one_of_the_records_where_the_source_gives_any():
    record = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "image_id": 1,
        "captions": ["a dog above a cat"],
        "foils": ["a cat above a dog", "a dog below a cat"],
    }
    tokenizer = Tokenizer.fit(record["captions"] + record["foils"])
    provides = frozenset({"image", "caption", "foils"})
    make = Processor(tokenizer, provides, image_size=8, text_length=8, foils=True)
    seen = {tokenizer.decode(make(record, np.random.default_rng(i))["foil_ids"]) for i in range(20)}
    assert seen == set(record["foils"])
    without = Processor(tokenizer, frozenset({"image", "caption"}), image_size=8, foils=True)
    assert "foil_ids" not in without(record, np.random.default_rng(0))


DETECTED = frozenset({"caption", "region_features"})


def detected(index=0, count=2):
    """A record without a picture: features that say whose they are."""
    boxes = np.array([[0, 0, 16, 12], [16, 12, 32, 24]], np.float32)[:count]
    features = np.full((count, 4), index + 1, np.float32)
    extra = {"boxes": boxes, "region_features": features, "width": 32, "height": 24}
    return {"image_id": index, "captions": ["red dog"], "labels": ["dog", "apple"]} | extra


def test_a_detectors_record_needs_no_picture():
    out = example(detected(), provides=DETECTED, mlm=None, tags=True, text_length=12)
    assert {"image", "region_hidden", "pair_labels"}.isdisjoint(out)
    assert out["region_features"][:, 0].tolist() == [1, 1, 0]
    np.testing.assert_allclose(out["region_boxes"][1], [0.5, 0.5, 1, 1])
    assert TOKENIZER.decode(out["text_ids"]) == "red dog dog apple"
    with pytest.raises(ValueError, match='no "region_features"'):
        example(detected() | {"region_features": None}, provides=DETECTED)


def test_a_detectors_boxes_do_not_follow_the_pictures_augmentation():
    record = detected() | {"image": np.zeros((24, 32, 3), np.uint8)}
    for seed in range(5):
        out = example(record, seed, provides=DETECTED | {"image"}, augment="crop_flip")
        assert out["image"].shape == (16, 16, 3)
        np.testing.assert_allclose(out["region_boxes"][0], [0, 0, 0.5, 0.5])


def test_pixels_of_boxes_become_features_of_the_augmented_picture():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:, :16] = 255
    record = FakeSource()[0] | {"image": pixels, "boxes": np.array([[0, 0, 16, 32]], np.float32)}
    options = dict(provides=frozenset({"regions"}), augment="crop_flip", region_pixels=2)
    for seed in range(20):
        out = example(record, seed, **options)
        assert out["region_features"].shape == (3, 12)
        if out["region_mask"][0]:  # the box and what it shows move together
            assert out["region_features"][0].min() > 1


def test_regions_are_hidden_in_training_only():
    options = dict(provides=DETECTED, region_masking=RegionMasking(1.0), global_region=True)
    out = example(detected(), **options)
    assert not out["region_features"].any() and out["region_mask"].tolist() == [True] * 3 + [False]
    assert out["region_hidden"].tolist() == [False, True, True, False]
    clean = example(detected(), train=False, **options)
    assert "region_hidden" not in clean and clean["region_features"][0].tolist() == [1] * 4


def test_features_of_another_image_stand_in_for_hidden_ones():
    masking = replace(REGION_MASKINGS["lxmert"], probability=1.0)
    make = processor(provides=DETECTED, region_masking=masking)
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
    make = processor(
        provides=DETECTED, region_masking=RegionMasking(1.0), pairing=PAIRINGS["caption"],
        predict_wrong_pairs=predict,
    )  # fmt: skip
    seen = set()
    for seed in range(20):
        out = make(detected(), np.random.default_rng(seed), lambda draw: detected(3))
        assert not out["region_features"].any()  # hidden all the same
        assert out["region_hidden"].any() == (predict or out["pair_labels"] == 0)
        seen.add(int(out["pair_labels"]))
    assert seen == {0, 1}


def test_several_questions_need_a_source_that_has_them():
    with pytest.raises(ValueError, match="questions = 3, but the source gives one question"):
        processor(questions=3)
    several = FakeSource.provides | {"more_questions"}
    record = FakeSource()[3] | {"more_questions": []}
    shown = example(record, provides=several, questions=3)
    assert shown["question_ids"].shape == (3, 6) and shown["answer_scores"].shape == (3, 2)
    check_batch(stack([shown, shown]))
    assert example(record, provides=several, questions=3, train=False)["question_ids"].ndim == 1
