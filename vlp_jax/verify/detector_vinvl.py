"""Every array of a reference bundle of VinVL's detector."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.detectors.anchors import integer_anchors
from vlp_jax.detectors.boxes import INCLUSIVE
from vlp_jax.detectors.c4 import HEAD_WEIGHTS
from vlp_jax.detectors.vinvl import Found, Vinvl
from vlp_jax.verify.bundle import DETECTORS, Bundle
from vlp_jax.verify.detector_calls import channels_first, frames_of, run_call
from vlp_jax.verify.detector_units import unit_cases
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.zoo import DETECTORS as PUBLISHED
from vlp_jax.weights.zoo.vinvl import detector_of

_SIZES = "config_overrides_of_vinvl_x152c4_yaml"
# What a mode of the bundle sets, under its published name.
_MODE = {
    "thr": "MODEL.ROI_HEADS.SCORE_THRESH",
    "min": "MODEL.ROI_HEADS.MIN_DETECTIONS_PER_IMG",
    "max": "MODEL.ROI_HEADS.DETECTIONS_PER_IMG",
    "ignore_reg": "TEST.IGNORE_BOX_REGRESSION",
}


class Call(NamedTuple):
    """Pictures in one frame, which they need not fill, and their sizes before they were resized."""

    pixels: np.ndarray
    sizes: np.ndarray
    raw_sizes: np.ndarray


class Ran(NamedTuple):
    """What our detector made of a call."""

    call: Call
    found: Found
    told: Mapping[str, Any]


@RUNNERS.register(f"{DETECTORS}/vinvl-x152c4")
def vinvl(bundle: Bundle) -> dict[str, Any]:
    """All modes: pictures in one frame as the original sees it, and each alone."""
    sizes = bundle.field(_SIZES)
    detector = detector_of(sizes)
    params = PUBLISHED["vinvl_x152c4"].load(bundle.state, detector)
    outputs: dict[str, Any] = {}
    for mode, values in bundle.field("modes").items():
        detector = detector_of(sizes | {_MODE[name]: x for name, x in values.items()})
        for name, call in _calls(bundle, mode):
            ran = Ran(call, *run_call(detector, params, call.pixels, call.sizes))
            each = _stages(ran) | _proposals(ran) | _final(ran)
            outputs |= {f"{mode}/{name}/{key}": value for key, value in each.items()}
    outputs |= _some_rows(bundle, outputs)
    cells = {"published": Vinvl(), "bundle": detector}
    cells = {n: integer_anchors(d.anchor_sizes, d.anchor_ratios) for n, d in cells.items()}
    return outputs | unit_cases(bundle, cells, INCLUSIVE, HEAD_WEIGHTS)


def _calls(bundle: Bundle, mode: str) -> Iterator[tuple[str, Call]]:
    """Yields those that the bundle has outputs of."""
    expected = {tuple(name.split("/")[:2]) for name in bundle.expected}
    count = len(bundle.input("sizes"))
    raw = np.array([bundle.input(f"image{i}").shape[:2] for i in range(count)])
    for name, rows, pixels, sizes in frames_of(bundle):
        if (mode, name) in expected:
            yield name, Call(pixels, sizes, raw[rows])


def _stages(ran: Ran) -> dict[str, Any]:
    trunk, first = ran.told["trunk"], lambda values: channels_first(values[0])
    anchors = np.asarray(ran.told["anchors"][0])
    return {
        "stem": first(trunk["stem_output"]),
        "layer1": first(trunk["stage_0_output"]),
        "layer2": first(trunk["stage_1_output"]),
        "c4": first(trunk["stage_2_output"]),
        "rpn_logits": first(ran.told["proposal_logits"]),
        "rpn_deltas": first(ran.told["proposal_deltas"]),
        "anchors": anchors,
        # Which of them training would look at; the original computes it here as well.
        "anchors_visibility": _within(anchors, ran.call.sizes[0]),
    }


def _within(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] >= 0).all(axis=1) & (boxes[:, 2:] < size[::-1]).all(axis=1)


def _proposals(ran: Ran) -> dict[str, Any]:
    """What is said of every proposal, those of all pictures one after the other."""
    (proposals,) = ran.told["proposals"]
    mask = np.asarray(proposals.mask)
    of = lambda name: np.asarray(ran.told[name][0])[mask]
    outputs = {
        "proposals": np.asarray(proposals.boxes)[mask],
        "objectness": np.asarray(proposals.scores)[mask],
        "proposals_per_image": mask.sum(axis=1),
        "feature_pooled": of("features"),
        "class_logits": of("class_logits"),
        "class_probs": jax.nn.softmax(of("class_logits")),
        "roi_pooled": channels_first(of("regions")),
        "head_out": channels_first(of("region_maps")),
    }
    if "box_deltas" in ran.told:
        outputs["box_regression"] = of("box_deltas")
        outputs["decoded_boxes"] = of("decoded_boxes").reshape(outputs["box_regression"].shape)
    return outputs


def _final(ran: Ran) -> dict[str, Any]:
    """The regions of all pictures one after the other."""
    found, (chosen,) = ran.found, ran.told["chosen"]
    rows = lambda values: np.asarray(values)[np.asarray(found.mask)]
    of_proposals = lambda values: rows(jax.vmap(lambda x, i: x[i])(values, chosen.rows))
    scales = np.repeat(ran.call.raw_sizes / ran.call.sizes, found.mask.sum(axis=1), axis=0)
    shares = jax.nn.softmax(ran.told["class_logits"][0])
    boxes = ran.told["boxes"][0]
    final = {
        "count": found.mask.sum(axis=1),
        "labels": rows(found.labels),
        "scores": rows(found.scores),
        "box_features": rows(found.features),
        "attr_labels": rows(found.attribute_labels),
        "attr_scores": rows(found.attribute_scores),
        "attr_feature": rows(ran.told["attribute_hidden"][0]),
        "scores_all": of_proposals(shares),
        "boxes_all": of_proposals(jnp.broadcast_to(boxes, (*shares.shape, 4))),
        "boxes": rows(found.boxes),
        "boxes_raw": rows(found.boxes) * scales[:, [1, 0, 1, 0]],
    }
    named = {f"final/{name}": value for name, value in final.items()}
    return named | {"attr_logits": rows(ran.told["attribute_logits"][0])}


def _some_rows(bundle: Bundle, outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the maps of those proposals of which the bundle has them."""
    chosen = {n: x for n, x in bundle.expected.items() if n.endswith("/roi_rows")}
    some = dict(chosen)
    for name, rows in chosen.items():
        call = name.removesuffix("roi_rows")
        some |= {
            f"{call}{key}": outputs[f"{call}{key}"][rows] for key in ("roi_pooled", "head_out")
        }
    return some
