"""Tests of the table of batch fields and its checks."""

import numpy as np
import pytest

from vlp_jax.data.batch import (
    FIELDS,
    IGNORE,
    Field,
    check_batch,
    check_indices,
    check_numbers,
    stack,
)
from vlp_jax.data.masking import MaskWords
from vlp_jax.data.pairing import ExchangeTexts
from vlp_jax.data.region_masking import HideRegions
from vlp_jax.tasks.matching import FoilFields
from vlp_jax.tasks.questions import AnswerWords, QuestionFields

TRANSFORMS = (MaskWords, ExchangeTexts, HideRegions, FoilFields, AnswerWords, QuestionFields)
EVERY = FIELDS | {name: field for made in TRANSFORMS for name, field in made.makes.items()}


def full_batch(questions: int | None = None, pictures: int | None = None):
    """Returns all fields; with axes of several questions and pictures, or none."""
    sizes = {"B": 3, "H": 8, "W": 8, "L": 5, "Q": 4, "A": 7, "R": 2, "F": 6, "T": 2, "C": 9}
    sizes |= {"N": 2, "S": 6, "K?": questions, "P?": pictures}

    def length(dim) -> int | None:
        """Returns the length of an axis: the first that is allowed, None where it is left out."""
        if isinstance(dim, tuple):
            return dim[0]
        return dim if isinstance(dim, int) else sizes[dim]

    shape = lambda dims: [n for n in map(length, dims) if n is not None]
    return {name: np.zeros(shape(f.dims), f.dtypes[0]) for name, f in EVERY.items()}


@pytest.mark.parametrize("axes", [{}, {"questions": 2}, {"pictures": 2}, {"pictures": 1}])
def test_every_documented_field_together_passes(axes):
    check_batch(full_batch(**axes), EVERY)
    assert IGNORE == -100


def test_pixels_may_be_normalised():
    check_batch(full_batch() | {"image": np.zeros((3, 8, 8, 3), np.float32)}, EVERY)


def test_fields_of_tasks_are_known_where_a_task_makes_them():
    check_batch({"image_id": np.zeros(3, np.int32)})
    with pytest.raises(ValueError, match='unknown batch field "pair_labels"'):
        check_batch({"pair_labels": np.zeros(3, np.int32)})


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("txt_ids", np.zeros((3, 5), np.int32), 'Did you mean "text_ids"'),
        ("text_ids", np.zeros((3, 5), np.int64), "dtype int64, expected int32"),
        ("text_mask", np.zeros((3, 5), np.int32), "expected bool"),
        ("image", np.zeros((3, 8, 8), np.uint8), r"expected \[B, P\?, H, W, 3\]"),
        ("image", np.zeros((3, 8, 8, 4), np.uint8), r"expected \[B, P\?, H, W, 3\]"),
        ("mlm_ids", np.zeros((3, 6), np.int32), 'with L = 5 as in "text_ids"'),
        ("question_ids", np.zeros((4, 4), np.int32), 'with B = 3 as in "image"'),
    ],
)
def test_a_wrong_field_is_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        check_batch(full_batch() | {name: value}, EVERY)


def test_numbers_that_point_beyond_a_table():
    batch = {"region_labels": np.array([[0, 1599]]), "region_alignment": np.array([[[-1, 3]]])}
    check_indices(batch, {"region_labels": 1600, "region_alignment": 4, "region_types": 1})
    for sizes, message in (
        ({"region_labels": 1599}, '"region_labels" holds 1599, and the model knows 1599 of them'),
        ({"region_alignment": 3}, '"region_alignment" holds 3, .* expected -1 to 2'),
    ):
        with pytest.raises(ValueError, match=message):
            check_indices(batch, sizes)


def test_boxes_in_pixels_and_numbers_that_are_none():
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 640, 480]]], np.float32)
    filling = {"region_boxes": boxes, "region_mask": np.array([[True, False]])}
    check_numbers(filling)
    with pytest.raises(ValueError, match='"region_boxes" reach from 0 to 640: .* divide pixels'):
        check_numbers({"region_boxes": boxes})
    with pytest.raises(ValueError, match=r'"region_features" holds inf at \[0, 1\]'):
        check_numbers({"region_features": np.array([[1.0, np.inf]])})


def test_fields_of_questions_and_of_pictures_agree_in_their_number():
    bad = full_batch(questions=2) | {"answer_scores": np.zeros((3, 4, 7), np.float32)}
    with pytest.raises(ValueError, match=r"expected \[B, K\?, A\] with K\? = 2"):
        check_batch(bad, EVERY)
    bad = full_batch(pictures=2) | {"text_ids": np.zeros((3, 4, 5), np.int32)}
    with pytest.raises(ValueError, match=r"expected \[B, P\?, L\] with P\? = 2"):
        check_batch(bad, EVERY)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="empty"):
        check_batch({})


def test_stack_names_differing_shapes():
    batch = stack([{"image_id": np.int32(4)}, {"image_id": np.int32(5)}])
    assert batch["image_id"].tolist() == [4, 5] and batch["image_id"].dtype == np.int32
    with pytest.raises(TypeError, match=r"'text_ids': \[\(3,\), \(4,\)\]"):
        stack([{"text_ids": np.zeros(3)}, {"text_ids": np.zeros(4)}])


@pytest.mark.parametrize(
    "dtypes, dims, message",
    [
        ("int32", ("B",), "dtypes of a batch field is 'int32', expected a tuple"),
        (("int32",), "B", "dims of a batch field is 'B', expected a tuple"),
        (("in32",), ("B",), "unknown dtype 'in32' of a batch field"),
        (("str",), ("B",), "unknown dtype 'str' of a batch field"),
    ],
)
def test_a_field_that_cannot_be_is_refused(dtypes, dims, message):
    with pytest.raises(ValueError, match=message):
        Field(dtypes, dims, "mine")
