"""The detector of bottom-up attention: sizes, key names, conventions and what it refuses."""

import pickle

import jax
import numpy as np
import pytest

from tests.detectors.oracle import GOLDENS
from tests.weights.zoo.key_lists import read_keys
from vlp_jax.cli.main import main
from vlp_jax.data.json_text import read_object
from vlp_jax.detectors.boxes import CAFFE
from vlp_jax.detectors.selection import ConfidenceRule
from vlp_jax.weights.conversion import count_parameters, published_shapes
from vlp_jax.weights.safetensors_file import write_safetensors
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import DETECTORS
from vlp_jax.weights.zoo.detectors import abstract_params
from vlp_jax.weights.zoo.frcnn_vg import conventions, detector_of, frcnn_table, merged_sizes

BUNDLE = GOLDENS / "detector-frcnn-a"


@pytest.fixture(scope="module")
def published():
    """The small detector's tensors, and the detector itself."""
    state = read_state_dict(BUNDLE / "checkpoint.safetensors")
    return dict(state), detector_of(read_object(BUNDLE / "config.json"))


def test_every_published_tensor_has_its_place():
    detector = detector_of({})
    shapes, table = abstract_params(detector), frcnn_table(detector)
    made, keys = published_shapes(shapes, table), read_keys("frcnn_vg")
    assert len(keys) == 640
    counters = {name for name in keys if table.carries(name)}
    assert {name: keys[name] for name in keys.keys() - counters} == made
    statistics = sum(np.prod(s) for n, s in made.items() if "running_" in n or "cell_anchors" in n)
    assert round((count_parameters(shapes) - statistics) / 1e6, 2) == 65.44


def test_a_file_comes_back_bit_by_bit(published):
    state, detector = published
    params = DETECTORS["frcnn_vg"].load(state, detector)
    for like in (None, state):
        back = DETECTORS["frcnn_vg"].save(params, detector, like)
        assert back.keys() == state.keys()
        for name, array in back.items():
            if like is not None or "num_batches" not in name:
                assert array.dtype == state[name].dtype
                np.testing.assert_array_equal(array, state[name])


def test_the_older_file_is_a_pickle_without_counters(published, tmp_path):
    state, detector = published
    bare = {name: np.array(x) for name, x in state.items() if "num_batches" not in name}
    file = tmp_path / "faster_rcnn_from_caffe_attr_original.pkl"
    file.write_bytes(pickle.dumps({"model": bare, "__author__": "Caffe"}))
    full, read = (DETECTORS["frcnn_vg"].load(x, detector) for x in (state, read_state_dict(file)))
    jax.tree.map(np.testing.assert_array_equal, read, full)


@pytest.mark.parametrize("number, said", [(np.nan, "NaN or infinite"), (-1.0, "must be above 0")])
def test_weights_with_which_nothing_can_be_computed_are_refused(published, number, said):
    state, detector = published
    name = "backbone.res3.0.conv2.norm.running_var"
    damaged = np.array(state[name])
    damaged[0] = number
    with pytest.raises(ValueError, match=rf"{name}.*{said}"):
        DETECTORS["frcnn_vg"].load(state | {name: damaged}, detector)


def test_names_of_entries_may_be_lower_case():
    given = {"roi_heads": {"num_classes": 7}, "min_detections": 5}
    sizes = merged_sizes(given)
    assert sizes["ROI_HEADS"]["NUM_CLASSES"] == 7 and sizes["MIN_DETECTIONS"] == 5
    assert sizes["ROI_BOX_HEAD"]["NUM_ATTRS"] == 400


@pytest.mark.parametrize(
    "section, entry, value",
    [
        ("RESNETS", "DEPTH", 34),
        ("RESNETS", "NORM", "GN"),
        ("ANCHOR_GENERATOR", "OFFSET", 0.5),
        ("ROI_BOX_HEAD", "CLS_AGNOSTIC_BBOX_REG", True),
    ],
)
def test_what_is_not_built_is_refused(section, entry, value):
    with pytest.raises(ValueError, match=rf"{section}.{entry} is {value!r}, expected"):
        detector_of({section: {entry: value}})


def test_conventions_are_the_published_ones():
    known = conventions({})
    sides = {name: (c.shortest, c.longest) for name, c in known.items()}
    assert sides["transformers"] == sides["transformers_rgb"] == (800, 1333)
    assert sides["detectron2"] == sides["caffe"] == sides["caffe_adaptive"] == (600, 1000)
    assert known["detectron2"].detector.rule.thresholds[0] == 0.3
    caffe = known["caffe_adaptive"].detector
    assert caffe.rule == ConfidenceRule(10, 100) and caffe.proposals.sides == CAFFE
    assert caffe.proposals.least_side == 16


def test_a_file_without_counters_is_converted_to_a_whole_one(published, tmp_path):
    state, _ = published
    bare = {name: array for name, array in state.items() if "num_batches" not in name}
    file, target = tmp_path / "bare.safetensors", tmp_path / "whole.safetensors"
    write_safetensors(file, bare)
    sizes = str(BUNDLE / "config.json")
    given = ["--model", "frcnn_vg", "--weights", str(file), "--sizes", sizes, "--to", str(target)]
    assert main(["convert", *given]) == 0
    written = read_state_dict(target)
    assert written.keys() == state.keys()
    for name in bare:
        np.testing.assert_array_equal(written[name], state[name])
