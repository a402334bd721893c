"""Every array of a reference bundle of the detector "frcnn-vg"."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from vlp_jax.detectors.anchors import centred_anchors
from vlp_jax.detectors.boxes import PLAIN, decode
from vlp_jax.detectors.c4 import HEAD_WEIGHTS
from vlp_jax.detectors.frcnn import Found, Frcnn
from vlp_jax.detectors.selection import LadderRule, Selected
from vlp_jax.verify.bundle import DETECTORS, Bundle
from vlp_jax.verify.detector_calls import channels_first, frames_of, run_call
from vlp_jax.verify.detector_units import unit_cases
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.zoo.detectors import DETECTORS as PUBLISHED
from vlp_jax.weights.zoo.frcnn_vg import detector_of


class Call(NamedTuple):
    """One call of the original: pictures in one frame, and what becomes of their proposals."""

    pixels: np.ndarray
    sizes: np.ndarray
    scales_yx: np.ndarray
    rule: LadderRule


class Ran(NamedTuple):
    """What our detector made of a call."""

    found: Found
    told: dict[str, Any]


@RUNNERS.register(f"{DETECTORS}/frcnn-vg")
def frcnn(bundle: Bundle) -> dict[str, Any]:
    """All runs: pictures in one frame as the original sees it, and each alone."""
    detector = detector_of(bundle.config)
    params = PUBLISHED["frcnn_vg"].load(bundle.state, detector)
    outputs: dict[str, Any] = {}
    for name, call in _calls(bundle, detector.rule):
        own = detector.clone(rule=call.rule)
        ran = Ran(*run_call(own, params, call.pixels, call.sizes))
        each = _stages(ran) | _proposals(ran) | _selected(ran, call.rule) | _final(ran, call)
        outputs |= {f"{name}/{key}": value for key, value in each.items()}
    rows = bundle.expected["batch/roi_rows"]
    outputs["batch/roi_rows"] = rows
    outputs["batch/roi_pooled"] = outputs["batch/roi_pooled"][rows]
    outputs["batch/res5_out"] = outputs["batch/res5_out"][rows[::2]]
    cells = {"published": Frcnn(), "bundle": detector}
    cells = {n: centred_anchors(d.anchor_sizes, d.anchor_ratios) for n, d in cells.items()}
    return outputs | unit_cases(bundle, cells, PLAIN, HEAD_WEIGHTS)


def _calls(bundle: Bundle, rule: LadderRule) -> Iterator[tuple[str, Call]]:
    scales = bundle.input("scales_yx")
    calls = {
        name: Call(pixels, sizes, scales[rows], rule)
        for name, rows, pixels, sizes in frames_of(bundle)
    }
    yield from calls.items()
    least, most = re.findall(r"(?:MIN|MAX)_DETECTIONS=(\d+)", bundle.field("runs")["adaptive"])
    adaptive = rule._replace(least=int(least), most=int(most))
    yield "adaptive", calls["batch"]._replace(rule=adaptive)


def _stages(ran: Ran) -> dict[str, Any]:
    trunk, first = ran.told["trunk"], lambda values: channels_first(values[0])
    return {
        "stem": first(trunk["stem_output"]),
        **{f"res{i + 2}": first(trunk[f"stage_{i}_output"]) for i in range(3)},
        "rpn_logits": first(ran.told["proposal_logits"]),
        "rpn_deltas": first(ran.told["proposal_deltas"]),
        "anchors": ran.told["anchors"][0],
    }


def _proposals(ran: Ran) -> dict[str, Any]:
    """What is said of every proposal, those of all pictures one after the other."""
    (proposals,), told = ran.told["proposals"], ran.told
    mask = np.asarray(proposals.mask)
    rows = lambda values: np.asarray(values)[mask]
    of = lambda name: rows(told[name][0])
    deltas = of("box_deltas")
    boxes = decode(rows(proposals.boxes)[:, None], deltas.reshape(len(deltas), -1, 4), HEAD_WEIGHTS)
    return {
        "proposals": rows(proposals.boxes),
        "proposal_logits": rows(proposals.scores),
        "proposals_per_image": mask.sum(axis=1),
        "feature_pooled": of("features"),
        "obj_logits": of("class_logits"),
        "obj_probs_all": jax.nn.softmax(of("class_logits")),
        "attr_logits": of("attribute_logits"),
        "attr_probs_all": of("attribute_shares"),
        "box_deltas": deltas,
        "decoded_boxes": boxes.reshape(deltas.shape),
        "roi_pooled": channels_first(of("regions")),
        "res5_out": channels_first(of("region_maps")),
    }


def _selected(ran: Ran, rule: LadderRule) -> dict[str, Any]:
    selected: Selected = ran.told["selected"][0]
    return {
        "nms_threshold_used": np.array(rule.thresholds)[np.asarray(selected.threshold)],
        "keep_index": np.asarray(selected.rows)[np.asarray(selected.mask)],
    }


def _final(ran: Ran, call: Call) -> dict[str, Any]:
    """What the original returns, padded with zeros to the largest number of regions."""
    found, scale = ran.found, call.scales_yx[:, None, [1, 0, 1, 0]]
    boxes = _padded(np.asarray(found.boxes) * scale, found.mask, call.rule.most)
    columns = {
        "obj_ids": found.labels,
        "obj_probs": found.scores,
        "attr_ids": found.attributes,
        "attr_probs": found.attribute_scores,
        "roi_features": found.features,
    }
    columns = {n: _padded(np.asarray(x), found.mask, call.rule.most) for n, x in columns.items()}
    final = columns | {
        "boxes": boxes,
        "normalized_boxes": boxes / _divisors(call),
        "sizes": call.sizes,
        "preds_per_image": found.mask.sum(axis=1),
    }
    return {f"final/{name}": value for name, value in final.items()}


def _divisors(call: Call) -> np.ndarray:
    """What the original divides x1, y1, x2, y2 by: of two pictures, the second's for the last two.

    Right for one picture, and nothing that a detector should do.
    """
    raw = call.sizes * call.scales_yx
    return np.concatenate([raw[0, ::-1], raw[-1, ::-1]])


def _padded(values: np.ndarray, mask: Any, slots: int) -> np.ndarray:
    kept = np.where(np.asarray(mask).reshape(mask.shape + (1,) * (values.ndim - 2)), values, 0)
    return np.pad(kept, [(0, 0), (0, slots - values.shape[1])] + [(0, 0)] * (values.ndim - 2))
