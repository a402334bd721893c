"""Tests of the source "easy_vqa"."""

import json

import cv2
import numpy as np
import pytest

from vlp_jax.data.sources import EasyVqa

SIZES = {"train": 34687, "validation": 3888, "test": 9673}


@pytest.mark.parametrize("split", SIZES)
def test_published_sizes_and_answers(split):
    source = EasyVqa(split=split)
    assert len(source) == SIZES[split]
    assert len(source.answers()) == 13 and source.answers()[:2] == ("black", "blue")
    assert source[0]["image"].shape == (64, 64, 3)


def test_test_split_is_as_published():
    first = EasyVqa(split="test")[0]
    assert (first["question"], first["answers"]) == ("what is the red shape?", {"triangle": 1.0})
    assert first["image_id"] == 0 and first["question_type"] == "shape"
    # The shape is red: where colours differ most from the light background, red dominates.
    image = first["image"].astype(int)
    strongest = image.reshape(-1, 3)[(image[..., 0] - image[..., 2]).argmax()]
    assert strongest[0] - strongest[2] > 80


def test_training_and_validation_share_no_image_and_miss_no_question():
    ids = {s: [entry[2] for entry in EasyVqa(split=s)._questions] for s in ("train", "validation")}
    assert max(ids["train"]) == 3599 and min(ids["validation"]) == 3600
    assert len(ids["train"]) + len(ids["validation"]) == 38575


def test_shared_picture_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        EasyVqa()[0]["image"][0, 0] = 0


def test_missing_picture_and_missing_questions(tmp_path):
    with pytest.raises(FileNotFoundError, match="questions.json"):
        EasyVqa(path=str(tmp_path))
    (tmp_path / "train" / "images").mkdir(parents=True)
    questions = [["what shape is it?", "circle", k] for k in range(10)]
    (tmp_path / "train" / "questions.json").write_text(json.dumps(questions))
    (tmp_path / "answers.txt").write_text("circle\nred")
    cv2.imwrite(str(tmp_path / "train" / "images" / "1.png"), np.zeros((4, 4, 3), np.uint8))
    source = EasyVqa(path=str(tmp_path))
    assert len(source) == 9 and source[1]["image"].shape == (4, 4, 3)
    with pytest.raises(ValueError, match="0.png is missing"):
        source[0]
