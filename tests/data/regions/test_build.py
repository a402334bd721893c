"""The checks of one picture's fields: each error says what is wrong and what was expected."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.regions.pictures import only, random_regions, unit_boxes6
from vlp_jax.data.regions.build import MEANINGS, NAMES, build_regions
from vlp_jax.data.regions.regions import OPTIONAL, PER_REGION, Regions, Rules


def fields(**changed):
    regions = random_regions(np.random.default_rng())
    values = {"features": regions.features, "boxes": regions.boxes}
    values |= {"width": regions.width, "height": regions.height, **changed}
    return {name: value for name, value in values.items() if value is not None}


def build(values, rules=None, dimension=None):
    return build_regions(values, rules or Rules(), dimension)


def with_entry(array, value, *place):
    changed = np.array(array)
    changed[place] = value
    return changed


ONES = np.ones((5, 8))
BOXES = np.tile(np.array([1.0, 2, 30, 20]), (5, 1))
WRONG = {
    "no features": ({"features": None, "feature": ONES}, 'no features: .*.*Is it "fea'),
    "no boxes": ({"boxes": None}, "no boxes: the fields are .* expected boxes or bbox or image_"),
    "flat features": ({"features": np.ones(8)}, r"features have shape \[8\], expected one row"),
    "text": ({"features": np.full((5, 8), "a")}, "features hold <U1, expected numbers"),
    "objects": ({"features": np.full((5, 8), object())}, "features hold object"),
    "nan": ({"features": with_entry(ONES, np.nan, 2, 3)}, "feature 2 holds nan in column 3; 1 of"),
    "infinity": ({"features": with_entry(ONES, -np.inf, 4, 0)}, "feature 4 holds -inf in column 0"),
    "nothing": ({"features": np.zeros((0, 8)), "boxes": np.zeros((0, 4))}, "there are no regions"),
    "fewer boxes": ({"boxes": BOXES[:4]}, "there are 4 boxes for 5 features"),
    "count": ({"num_boxes": 6}, "num_boxes is 6, but there are 5 features"),
    "count is text": ({"num_boxes": "many"}, "num_boxes is 'many', expected a whole number"),
    "five corners": ({"boxes": np.ones((5, 5))}, r"boxes have shape \[5, 5\], expected \[N, 4\]"),
    "reversed": ({"boxes": BOXES[:, [2, 1, 0, 3]]}, r"box \[30.0, 2.0, 1.0, 20.0\] is reversed"),
    "outside": ({"boxes": BOXES, "width": 28}, "outside the picture of 28 x"),
    "box nan": ({"boxes": with_entry(BOXES, np.nan, 0, 0)}, "boxes hold a value that is not fin"),
    "no size": ({"width": None, "boxes": BOXES}, "picture's size is missing, expected width or"),
    "no area": ({"width": 0, "boxes": BOXES * 0}, "the picture is 0 x"),
    "half a pixel": ({"width": 50.5}, "width is 50.5, expected a whole number"),
    "logits": ({"soft_labels": ONES * 4}, r"class scores reach from 0.0 to 4.0, expected prob"),
    "nan confidence": ({"conf": with_entry(ONES[:, 0], np.nan, 1)}, "confidence reach from nan"),
    "negative label": ({"labels": np.array([0, -1, 2, 3, 4])}, "labels hold -1, expected 0 to 21"),
    "label share": ({"labels": ONES[:, 0] * 0.5}, "labels are float64, expected whole numbers"),
    "fewer labels": ({"labels": np.arange(4)}, "there are 4 labels for 5 features"),
    "one name": ({"names": 5}, "names are 5, expected a list of texts"),
    "twice": ({"conf": ONES[:, 0], "objects_conf": ONES[:, 0]}, 'two fields hold the confidence'),
    "other box order": ({"boxes": None, "norm_bb": [[0.5, 0.5, 0.4, 0.4, 0.9, 0.9]] * 5},
                        "expected x1, y1, x2, y2, width, height a"),
    "box beyond unit": ({"boxes": None, "width": None, "norm_bb": [[0, 0, 1.02, 1]] * 5},
                        "boxes as shares of the picture reach to 1.02, expected 0 to 1"),
    "shares among pixels": ({"boxes": BOXES / 640, "width": 640, "height": 480},
                            "reach to 0.046875 in a picture of 640 x 480 pixels: they are shares"),
    "pixels among shares": ({"boxes": None, "norm_bb": BOXES}, "shares of the picture reach to 30"),
    "several classes": ({"soft_labels": np.full((5, 3), 0.6)},
                        r"scores of region 0 sum to 1.8 \(5 of 5 regions"),
    "one row": ({"soft_labels": with_entry(np.eye(5), 0.3, 2, 2)}, "of region 2 sum to 0.3 .1 of"),
    "large label": ({"labels": np.full(5, 2**40)}, "labels hold 1099511627776, expected 0 to 214"),
    "sizes": ({"box_sizes": ONES[:, :2] * 7}, "box sizes .* reach from 0.0 to 7.0"),
}  # fmt: skip


@pytest.mark.parametrize("changed, message", WRONG.values(), ids=WRONG.keys())
def test_wrong_fields(changed, message):
    with pytest.raises(ValueError, match=message):
        build(fields(**changed))


def test_fields_that_are_numbered():
    with pytest.raises(ValueError, match="no features: the fields are .*, 7, expected features"):
        build(fields(features=None) | {7: ONES})


def test_boxes_can_be_done_without():
    for values in (fields(), fields(boxes=None, width=None)):
        built = build(values, Rules(boxes="none"))
        picture = [0, 0, built.width, built.height]
        assert built.boxes.tolist() == [picture] * 5 and built.boxes.dtype == np.float32
    with pytest.raises(ValueError, match='or norm_bb, or the option boxes = "none"'):
        build(fields(boxes=None))


def test_wrong_width():
    with pytest.raises(ValueError, match="the features are 8 wide, expected 2048"):
        build(fields(), dimension=2048)


def test_boxes_one_pixel_outside_are_the_detectors_rounding():
    values = fields()
    values["boxes"] = np.array([[-1, -1, values["width"] + 1, values["height"] + 1]] * 5)
    assert build(values).boxes[0].tolist() == values["boxes"][0].tolist()
    values["boxes"] = values["boxes"] * 1.0
    values["boxes"][3, 2] += 0.1
    with pytest.raises(ValueError, match="outside the picture"):
        build(values)


@given(data=st.data())
def test_every_known_name_of_every_field(data):
    regions = random_regions(np.random.default_rng())
    name = {field: data.draw(st.sampled_from(names)) for field, names in NAMES.items()}
    kept = data.draw(st.sets(st.sampled_from(sorted({*OPTIONAL} - {"names", "box_sizes"}))))
    regions = only(regions, *kept)
    values = {name["features"]: regions.features, name["count"]: str(len(regions))}
    values |= {name[n]: getattr(regions, n) for n in kept}
    values |= {name["width"]: str(regions.width).encode(), name["height"]: [regions.height]}
    if data.draw(st.booleans()):
        values[name["boxes"]] = regions.boxes
    else:
        values[name["unit_boxes"]] = unit_boxes6(regions)[:, : data.draw(st.sampled_from([4, 6]))]
    built = build(values | {"unknown": object()})
    assert (built.width, built.height) == (regions.width, regions.height)
    assert built.contents() - {"box_sizes"} == kept
    np.testing.assert_allclose(built.boxes, regions.boxes, atol=1e-4)
    for n in kept:
        np.testing.assert_array_equal(getattr(built, n), getattr(regions, n))


def test_names_mean_one_thing_only():
    assert len(MEANINGS) == sum(map(len, NAMES.values()))
    assert set(PER_REGION) <= set(NAMES)


def test_a_record_has_what_the_picture_has():
    regions = random_regions(np.random.default_rng())
    record = only(regions, "labels", "confidence").to_record()
    assert set(record) == {
        "region_features", "boxes", "width", "height", "region_labels", "region_confidence"
    }  # fmt: skip
    named = Regions(regions.features, regions.boxes, 90, 90, names=("a",) * 5).to_record()
    assert named["labels"] == ["a"] * 5 and "region_labels" not in named


def test_sizes_of_boxes_are_those_of_the_file():
    regions = random_regions(np.random.default_rng())
    stored = unit_boxes6(regions).astype(np.float16)
    values = {"features": regions.features, "norm_bb": stored}
    built = build(values)
    assert built.box_sizes.dtype == np.float32
    np.testing.assert_array_equal(built.box_sizes, stored[:, 4:].astype(np.float32))
    np.testing.assert_array_equal(built.to_record()["box_sizes"], built.box_sizes)
    assert build(values | {"norm_bb": stored[:, :4]}).box_sizes is None


def test_class_scores_of_half_precision_are_a_distribution():
    rng = np.random.default_rng()
    scores = rng.dirichlet(np.full(1601, 0.01), 5).astype(np.float16)
    assert build(fields(soft_labels=scores)).class_scores.shape == (5, 1601)
