"""Tests that the torch detector of the benchmark finds what ours finds, with the same work."""

import json

import numpy as np
import pytest

pytestmark = pytest.mark.torch

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.detectors.oracle import GOLDENS, pool_region, random_boxes
from vlp_jax.cli.main import main
from vlp_jax.cli.measure import torch_detector
from vlp_jax.cli.measure.bench_detectors import TimedDetector
from vlp_jax.cli.measure.torch_detector import DetectorTwin
from vlp_jax.data.json_text import read_object
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import DETECTORS
from vlp_jax.weights.zoo.frcnn_vg import detector_of

BUNDLE = GOLDENS / "detector-frcnn-a"


def test_both_find_the_same_regions():
    """With weights and a picture for which no choice between regions is a close one."""
    published, network = DETECTORS["frcnn_vg"], detector_of(read_object(BUNDLE / "config.json"))
    params = published.load(read_state_dict(BUNDLE / "checkpoint.safetensors"), network)
    with np.load(BUNDLE / "inputs.npz") as inputs:
        height, width = inputs["sizes"][0]
        pixels = inputs["pixel_values"][:1, :, :height, :width].transpose(0, 2, 3, 1)
    sizes = np.array([[height, width]])
    ours = network.apply({"params": params}, pixels, sizes, sizes)
    (theirs,) = DetectorTwin(network, published.save(params, network), pixels).regions()
    assert ours.mask.all() and len(theirs.labels) == 22
    for name, values in theirs._asdict().items():
        np.testing.assert_allclose(getattr(ours, name)[0], values, atol=1e-3, err_msg=name)


def test_pooling_without_torchvision_is_the_published_one(monkeypatch):
    """Regions of 57 and 62 cells are those whose parts rounding moves."""
    monkeypatch.setattr(torch_detector, "ops", None)
    rng = np.random.default_rng(0)
    grid = rng.normal(size=(38, 63, 2)).astype(np.float32)
    boxes = random_boxes(rng, 10, 600, 1000)
    whole = np.float32([[0, 0, 56 * 16, 600], [0, 100, 61 * 16, 600], [1000, 600, 1000, 600]])
    boxes = np.concatenate([boxes, whole])
    found = torch_detector._pooled(torch.tensor(grid.transpose(2, 0, 1)), torch.tensor(boxes), 14)
    wanted = np.stack([pool_region(grid, box, 14, 1 / 16) for box in boxes])
    np.testing.assert_array_equal(found.numpy().transpose(0, 2, 3, 1), wanted)


def test_drawn_weights_give_all_proposals():
    """A detector that finds little would have little to do in torch; ours does the same always."""
    drawn = TimedDetector("frcnn_vg", "tiny", 1)
    state = DETECTORS["frcnn_vg"].save(drawn.params, drawn.network)
    twin = DetectorTwin(drawn.network, state, drawn.pixels)
    pixels = torch.tensor(drawn.pixels).permute(0, 3, 1, 2)
    with torch.inference_mode():
        grid = twin.model.backbone(pixels)
        (proposals,) = twin.model.proposal_generator(grid, pixels.shape[2:])
    assert len(proposals) == 300


@pytest.mark.slow
def test_both_sides_of_a_row(tmp_path):
    path = tmp_path / "figures.json"
    arguments = ["frcnn_vg", "--size", "tiny", "--steps", "1", "--json", str(path)]
    assert main(["bench", *arguments, "--against", "torch"]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert (row["model"], row["size"], row["what"], row["batch"]) == (
        "frcnn_vg",
        "tiny",
        "infer",
        1,
    )
    ours, theirs = row["sides"]["jax"], row["sides"]["torch"]
    assert ours["parameters"] == theirs["parameters"]
    assert ours["flops_per_pair"] == pytest.approx(theirs["flops_per_pair"], rel=0.001)
    assert row["ratios"]["torch"]["median"] > 0
