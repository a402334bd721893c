"""VinVL's detector: sizes, key names, conventions and what it refuses."""

import re

import jax
import numpy as np
import pytest

from tests.detectors.oracle import GOLDENS
from tests.weights.zoo.key_lists import read_keys
from vlp_jax.data.json_text import read_object
from vlp_jax.weights.conversion import published_shapes
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import DETECTORS
from vlp_jax.weights.zoo.detectors import abstract_params
from vlp_jax.weights.zoo.vinvl import conventions, detector_of, vinvl_table

VINVL = DETECTORS["vinvl_x152c4"]
BUNDLE = GOLDENS / "detector-vinvl-a"
SIZES = read_object(BUNDLE / "config.json")["config_overrides_of_vinvl_x152c4_yaml"]
COPY = "attribute.feature_extractor."


@pytest.fixture(scope="module")
def state():
    """The small detector's tensors."""
    return dict(read_state_dict(BUNDLE / "checkpoint.safetensors"))


@pytest.fixture(scope="module")
def detector():
    return detector_of(SIZES)


@pytest.mark.slow
def test_every_published_tensor_has_its_place():
    detector = detector_of({})
    made = published_shapes(abstract_params(detector), vinvl_table(detector))
    assert made == read_keys("vinvl_x152c4") and len(made) == 841
    stored = re.compile(rf"{COPY}|.*\.bn\d\.|.*downsample\.1\.|.*cell_anchors")
    trained = [np.prod(shape) for name, shape in made.items() if not stored.match(name)]
    assert round(sum(trained) / 1e6, 1) == 147.7


def test_a_file_comes_back_bit_by_bit(state, detector):
    params = VINVL.load(state, detector)
    for like in (None, state):
        back = VINVL.save(params, detector, like)
        assert back.keys() == state.keys()
        for name, array in back.items():
            assert array.dtype == state[name].dtype
            np.testing.assert_array_equal(array, state[name])


@pytest.mark.parametrize("copy", [COPY, "roi_heads.box.feature_extractor."])
def test_one_copy_of_the_stage_that_reads_regions_is_enough(state, detector, copy):
    half = {name: array for name, array in state.items() if not name.startswith(copy)}
    assert len(half) < len(state)
    expected = VINVL.load(state, detector)
    jax.tree.map(np.testing.assert_array_equal, VINVL.load(half, detector), expected)


def test_copies_that_differ_are_refused(state, detector):
    name = f"{COPY}head.layer4.1.conv2.weight"
    with pytest.raises(ValueError, match=f"differ from each other(.|\n)*{name}"):
        VINVL.load(state | {name: state[name] + 1}, detector)


@pytest.mark.parametrize("number, said", [(np.nan, "NaN or infinite"), (0.0, "must be above 0")])
def test_weights_with_which_nothing_can_be_computed_are_refused(state, detector, number, said):
    name = "backbone.body.layer2.0.bn2.running_var"
    damaged = np.array(state[name])
    damaged[0] = number
    with pytest.raises(ValueError, match=rf"{name}.*{said}"):
        VINVL.load(state | {name: damaged}, detector)


@pytest.mark.parametrize(
    "entry, value",
    [
        ("MODEL.BACKBONE.CONV_BODY", "R-50-FPN"),
        ("MODEL.RESNETS.STRIDE_IN_1X1", True),
        ("MODEL.ROI_HEADS.NMS_FILTER", 0),
        ("MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 512),
    ],
)
def test_what_is_not_built_is_refused(entry, value):
    with pytest.raises(ValueError, match=f"{entry} is {value!r}, expected"):
        detector_of({entry: value})


def test_conventions_are_the_published_ones():
    known = conventions({"MODEL.ROI_HEADS.MIN_DETECTIONS_PER_IMG": 36})
    assert [name for name in known] == ["features", "demo"]
    rules = {name: convention.detector.rule for name, convention in known.items()}
    assert [rule.moves_boxes for rule in rules.values()] == [False, True]
    assert rules["demo"].survivors == (36, 100, 0.2, 0.3)
    with pytest.raises(ValueError, match="MODEL.ROI_HEADS.SCORE_THRESH"):
        conventions({"MODEL.ROI_HEADS.SCORE_TRESH": 0.1})
