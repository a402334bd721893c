"""Tests of turning records into examples."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from tests.data.fakes import WORDS, FakeSource
from vlp_jax.data.batch import IGNORE, check_batch, stack
from vlp_jax.data.masking import Masking
from vlp_jax.data.processor import Processor
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
    ours, theirs = (
        p(record, np.random.default_rng(1)) for p in (processor(augment="albef"), copy)
    )
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
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(processor(), **change)


def test_foil_is_one_of_the_records_near_misses_where_the_source_gives_any():
    record = {
        "image": np.zeros((8, 8, 3), np.uint8),
        "image_id": 1,
        "captions": ["a dog above a cat"],
        "near_misses": ["a cat above a dog", "a dog below a cat"],
    }
    tokenizer = Tokenizer.fit(record["captions"] + record["near_misses"])
    provides = frozenset({"image", "caption", "foils"})
    make = Processor(tokenizer, provides, image_size=8, text_length=8, foils=True)
    seen = {
        tokenizer.decode(make(record, np.random.default_rng(i))["foil_ids"]) for i in range(20)
    }
    assert seen == set(record["near_misses"])
    without = Processor(tokenizer, frozenset({"image", "caption"}), image_size=8, foils=True)
    assert "foil_ids" not in without(record, np.random.default_rng(0))
