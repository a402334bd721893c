"""Tests of region fields: from a picture or a detector, masked, padded, with a global region."""

import numpy as np
import pytest

from vlp_jax.data.batch import check_batch, stack
from vlp_jax.data.region_fields import RegionFields, RegionReader
from vlp_jax.data.region_masking import HideRegions, RegionMasking
from vlp_jax.data.region_pixels import crop_features
from vlp_jax.data.transforms import Example

CLASSES = frozenset({"region_classes", "region_class_scores"})
EVERY = RegionMasking(probability=1.0)


def record(count=3, width=5, seed=0):
    """A detector's record of a picture of 40 × 20 pixels."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.random((count, 2, 2)), axis=1) * [40, 20]
    return {
        "region_features": rng.normal(size=(count, width)).astype(np.float16),
        "boxes": corners.reshape(count, 4),
        "width": 40,
        "height": 20,
        "region_labels": np.arange(count, dtype=np.int64) + 7,
        "region_confidence": rng.random(count),
        "region_attributes": np.arange(count) + 70,
        "region_attribute_confidence": rng.random(count),
        "region_class_scores": rng.random((count, 4)),
    }


def fields(given=None, slots=5, seed=0, **options):
    return finished(
        RegionReader(slots).of_detector(given or record(), CLASSES), slots, seed, **options
    )


def finished(regions, slots, seed=0, masking=None, **options):
    """Returns the fields of regions, some of them hidden and all padded."""
    example, rng = Example({}, None), np.random.default_rng(seed)
    example.update(regions=regions, foreign_features=lambda: np.zeros((1, 5)))
    if masking is not None:
        example.update(HideRegions(masking, slots)(example, rng))
    return RegionFields(slots, **options)(example, rng)


def test_a_detectors_record_is_padded_with_its_boxes_in_the_unit_square():
    given, out = record(), fields()
    check_batch(stack([out, out]))
    assert out["region_mask"].tolist() == [True] * 3 + [False] * 2
    boxes = given["boxes"] / [40, 20, 40, 20]
    np.testing.assert_allclose(out["region_boxes"][:3], boxes, atol=1e-6)
    for name in ("region_features", *(n for n in given if n.startswith("region_"))):
        np.testing.assert_allclose(out[name][:3], given[name].astype(out[name].dtype))
        assert not out[name][3:].any()
    assert "region_hidden" not in out and "region_targets" not in out


def test_only_the_first_regions_are_kept():
    out = fields(slots=2)
    assert out["region_mask"].all() and out["region_labels"].tolist() == [7, 8]


def test_classes_are_those_the_source_provides_and_attributes_those_it_has():
    given = record()
    made = RegionReader(4)
    assert set(made.of_detector(given, frozenset()).fields) == {"region_boxes", "region_features"}
    del given["region_attributes"], given["region_attribute_confidence"]
    kept = made.of_detector(given, frozenset({"region_classes"})).fields
    assert set(kept) >= {"region_labels", "region_confidence"}
    assert not {"region_attributes", "region_class_scores"} & set(kept)


def test_hidden_regions_keep_their_targets():
    out, plain = fields(masking=EVERY), fields()
    check_batch(stack([out, out]))
    assert not out["region_features"].any()
    assert out["region_hidden"].tolist() == out["region_mask"].tolist()
    np.testing.assert_array_equal(out["region_targets"], plain["region_features"])


def test_the_global_region_stands_before_the_others():
    plain, out = fields(), fields(global_region=True)
    assert out["region_mask"].tolist() == [True] * 4 + [False] * 2
    assert out["region_boxes"][0].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(
        out["region_features"][0], plain["region_features"][:3].mean(0), atol=1e-6
    )
    for name, values in plain.items():
        np.testing.assert_array_equal(out[name][1:], values)
    assert out["region_labels"][0] == 0 and out["region_confidence"][0] == 0
    assert not out["region_class_scores"][0].any()


def test_the_global_region_is_made_of_what_is_shown_and_never_hidden():
    masking = RegionMasking(probability=0.5)
    out = fields(global_region=True, masking=masking, seed=3)
    hidden = out["region_hidden"][1:4]
    assert hidden.any() and not hidden.all() and not out["region_hidden"][0]
    shown, whole = out["region_features"], out["region_targets"]
    np.testing.assert_allclose(shown[0], shown[1:4].mean(0), atol=1e-6)
    np.testing.assert_allclose(whole[0], whole[1:4].mean(0), atol=1e-6)
    assert not np.allclose(shown[0], whole[0])


def test_regions_of_a_picture_follow_its_boxes():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    boxes = np.array([[0, 0, 0.5, 0.5], [-3, -3, -1, -1], [0.5, 0, 1.5, 1]], np.float32)
    regions = RegionReader(4, pixels=2).of_picture(record(), image, boxes, CLASSES)
    assert regions.kept.tolist() == [0, 2]  # the second has left the picture
    out = finished(regions, 4)
    assert out["region_labels"].tolist() == [7, 9, 0, 0]
    assert out["region_boxes"][1].tolist() == [0.5, 0, 1, 1]
    expected = crop_features(image, out["region_boxes"][:2], 2)
    np.testing.assert_array_equal(out["region_features"][:2], expected)
    bare = RegionReader(4).of_picture(record(), image, boxes, CLASSES)
    out = finished(bare, 4, masking=EVERY)
    assert set(out) == {"region_boxes", "region_mask"}


def test_a_picture_without_regions_is_all_padding():
    out = fields(record(0), masking=EVERY, global_region=True)
    assert out["region_mask"].tolist() == [True] + [False] * 5
    assert not out["region_features"].any() and not out["region_hidden"].any()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"region_features": None}, 'no "region_features"'),
        ({"width": None}, 'no "width"'),
        ({"region_labels": None}, 'no "region_labels"'),
        ({"region_features": np.ones((2, 5))}, r'3 boxes, and "region_features" of shape \[2, 5\]'),
        ({"region_confidence": np.ones(4)}, r'3 boxes, and "region_confidence" of shape \[4\]'),
        ({"region_features": np.ones(3)}, r"are \[3\], expected finite numbers \[N, F\]"),
        ({"region_features": np.full((3, 5), np.nan)}, "expected finite numbers"),
        ({"width": 4}, "outside the picture of 4 x 20"),
    ],
)
def test_a_record_that_misfits_is_explained(change, message):
    with pytest.raises(ValueError, match=message):
        fields(record() | change)
