"""VinVL's detector from pictures to regions, as its two published programs use it."""

import json

import numpy as np
import pytest

import vlp_jax
from tests.detectors.oracle import GOLDENS
from vlp_jax.data.json_text import read_object

BUNDLE = GOLDENS / "detector-vinvl-a"
CONFIG = read_object(BUNDLE / "config.json")
GIVEN = dict(np.load(BUNDLE / "inputs.npz"))
EXPECTED = dict(np.load(BUNDLE / "outputs.npz"))
PICTURES = [GIVEN["image0"], GIVEN["image1"]]


def made(mode="extract", **options):
    """The bundle's detector with the limits that the bundle gives a mode."""
    limits = {
        "MODEL.ROI_HEADS.MIN_DETECTIONS_PER_IMG": CONFIG["modes"][mode]["min"],
        "MODEL.ROI_HEADS.DETECTIONS_PER_IMG": CONFIG["modes"][mode]["max"],
    }
    sizes = CONFIG["config_overrides_of_vinvl_x152c4_yaml"] | limits
    weights = BUNDLE / "checkpoint.safetensors"
    return vlp_jax.load_detector("vinvl_x152c4", weights, sizes=sizes, **options)


def check(regions, mode, picture):
    """Compares the regions of a picture with what the original finds in it alone."""
    expected = lambda name: EXPECTED[f"{mode}/single{picture}/final/{name}"]
    assert (regions.height, regions.width) == PICTURES[picture].shape[:2]
    assert (regions.labels + 1).tolist() == expected("labels").tolist()
    attributes = np.where(regions.attribute_confidence > 0, regions.attributes + 1, -1)
    assert attributes.tolist() == expected("attr_labels")[:, 0].tolist()
    np.testing.assert_allclose(regions.features, expected("box_features"), atol=1e-3)
    np.testing.assert_allclose(regions.boxes, expected("boxes_raw"), atol=1e-2)
    np.testing.assert_allclose(regions.confidence, expected("scores"), atol=1e-3)


@pytest.mark.slow
def test_regions_are_the_originals(tmp_path):
    file = tmp_path / "VG-SGG-dicts.json"
    numbers = {f"thing {i}": i for i in range(10, 0, -1)}
    file.write_text(json.dumps({"label_to_idx": numbers}))
    (regions,) = made(classes=file)(PICTURES[0])
    check(regions, "extract", 0)
    assert regions.names == tuple(f"thing {label + 1}" for label in regions.labels)


@pytest.mark.drawn(2)
@pytest.mark.slow
@pytest.mark.parametrize("mode, convention", [("extract", "features"), ("demo", "demo")])
def test_company_changes_nothing(mode, convention):
    together = made(mode, convention=convention, batch=3)(PICTURES[::-1])
    alone = made(mode, convention=convention)
    for picture, found in zip((1, 0), together, strict=True):
        check(found, mode, picture)
        (expected,) = alone(PICTURES[picture])
        # Convolutions of another batch round otherwise if they are compiled without optimisation,
        # as in tests; with it the difference is 0.
        np.testing.assert_allclose(found.features, expected.features, atol=1e-4)


def test_a_label_map_must_count_from_1(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text('{"label_to_idx": {"a": 0, "b": 1}}')
    with pytest.raises(ValueError, match='labels.json has no "label_to_idx" that numbers'):
        made(classes=file)
