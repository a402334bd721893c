"""The detector of bottom-up attention in its PyTorch form: configuration, and names of its tensors.

"Bottom-Up and Top-Down Attention for Image Captioning and Visual Question Answering" (Anderson et
al. 2018), https://arxiv.org/abs/1707.07998; the file `pytorch_model.bin` of the hub's
unc-nlp/frcnn-vg-finetuned, with the names of transformers' research project "lxmert".
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from vlp_jax.detectors.boxes import CAFFE
from vlp_jax.detectors.frcnn import Found, Frcnn
from vlp_jax.detectors.pixels import PixelRule, prepare
from vlp_jax.detectors.proposals import ProposalRule
from vlp_jax.detectors.selection import ConfidenceRule, LadderRule
from vlp_jax.weights.key_table import (
    Entries,
    KeyTable,
    biased_conv,
    embedding,
    key_table,
    linear,
    raw,
)
from vlp_jax.weights.zoo.detectors import Convention, PublishedDetector, register
from vlp_jax.weights.zoo.resnet import normalised_conv

# `config.yaml` beside the published file, by section; the detector reads these entries of it.
SIZES: dict[str, Any] = {
    "MIN_DETECTIONS": 36,
    "MAX_DETECTIONS": 36,
    "INPUT": {"FORMAT": "BGR", "MIN_SIZE_TEST": 800, "MAX_SIZE_TEST": 1333},
    "MODEL": {
        "MAX_POOL": True,
        "PIXEL_MEAN": (102.9801, 115.9465, 122.7717),
        "PIXEL_STD": (1.0, 1.0, 1.0),
    },
    "ANCHOR_GENERATOR": {
        "SIZES": ((64, 128, 256, 512),),
        "ASPECT_RATIOS": ((0.5, 1.0, 2.0),),
        "OFFSET": 0.0,
    },
    "RESNETS": {
        "DEPTH": 101,
        "NORM": "BN",
        "NUM_GROUPS": 1,
        "WIDTH_PER_GROUP": 64,
        "STEM_OUT_CHANNELS": 64,
        "RES2_OUT_CHANNELS": 256,
        "STRIDE_IN_1X1": True,
        "RES5_DILATION": 1,
    },
    "PROPOSAL_GENERATOR": {"HIDDEN_CHANNELS": 512, "MIN_SIZE": 0.0},
    "RPN": {
        "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),
        "NMS_THRESH": 0.7,
        "PRE_NMS_TOPK_TEST": 6000,
        "POST_NMS_TOPK_TEST": 300,
    },
    "ROI_BOX_HEAD": {
        "ATTR": True,
        "NUM_ATTRS": 400,
        "POOLER_RESOLUTION": 14,
        "RES5HALVE": False,
        "BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
        "CLS_AGNOSTIC_BBOX_REG": False,
    },
    "ROI_HEADS": {"NUM_CLASSES": 1600, "NMS_THRESH_TEST": (0.5, 0.6, 0.7)},
}
# Entries of which only the published value is built.
_FIXED = {
    "ANCHOR_GENERATOR": ("OFFSET",),
    "RESNETS": ("NORM", "RES5_DILATION"),
    "RPN": ("BBOX_REG_WEIGHTS",),
    "ROI_BOX_HEAD": ("ATTR", "BBOX_REG_WEIGHTS", "CLS_AGNOSTIC_BBOX_REG"),
}
# Blocks of the stages, by number of layers.
DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
# Counters of training; the original's strict loading wants them.
_COUNTER = "num_batches_tracked"
UNMODELLED = (rf".*\.{_COUNTER}",)


def merged_sizes(published: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `SIZES` with the entries of a published configuration in their place.

    Names may be lower case, as in the published file. ValueError for what no detector here has.
    """
    given = {name.upper(): value for name, value in published.items()}
    sizes = {}
    for name, usual in SIZES.items():
        value = given.get(name, usual)
        if isinstance(usual, Mapping):
            value = {**usual, **{key.upper(): entry for key, entry in dict(value).items()}}
        sizes[name] = value
    for section, names in _FIXED.items():
        for name in names:
            found, usual = (_plain(x[section][name]) for x in (sizes, SIZES))
            if found != usual:
                raise ValueError(f"{section}.{name} is {found!r}, expected {usual!r}")
    return sizes


def detector_of(published: Mapping[str, Any]) -> Frcnn:
    """Returns the detector of a published configuration, whose other entries are as in `SIZES`.

    Raises ValueError for what this detector is not.
    """
    sizes = merged_sizes(published)
    resnet, rpn, heads = sizes["RESNETS"], sizes["RPN"], sizes["ROI_HEADS"]
    box_head, generator = sizes["ROI_BOX_HEAD"], sizes["PROPOSAL_GENERATOR"]
    if resnet["DEPTH"] not in DEPTHS:
        known = ", ".join(map(str, DEPTHS))
        raise ValueError(f"RESNETS.DEPTH is {resnet['DEPTH']!r}, expected one of {known}")
    (anchor_sizes,), (ratios,) = (
        sizes["ANCHOR_GENERATOR"][name] for name in ("SIZES", "ASPECT_RATIOS")
    )
    return Frcnn(
        stem=resnet["STEM_OUT_CHANNELS"],
        width=resnet["RES2_OUT_CHANNELS"],
        inner=resnet["NUM_GROUPS"] * resnet["WIDTH_PER_GROUP"],
        groups=resnet["NUM_GROUPS"],
        depths=DEPTHS[resnet["DEPTH"]],
        stride_in_first=resnet["STRIDE_IN_1X1"],
        caffe_pool=sizes["MODEL"]["MAX_POOL"],
        dilated=not box_head["RES5HALVE"],
        hidden=max(generator["HIDDEN_CHANNELS"], 0),
        anchor_sizes=tuple(anchor_sizes),
        anchor_ratios=tuple(ratios),
        classes=heads["NUM_CLASSES"],
        attributes=box_head["NUM_ATTRS"],
        bins=box_head["POOLER_RESOLUTION"],
        proposals=ProposalRule(
            rpn["PRE_NMS_TOPK_TEST"],
            rpn["POST_NMS_TOPK_TEST"],
            rpn["NMS_THRESH"],
            least_side=generator["MIN_SIZE"],
        ),
        rule=LadderRule(
            sizes["MIN_DETECTIONS"], sizes["MAX_DETECTIONS"], tuple(heads["NMS_THRESH_TEST"])
        ),
    )


def conventions(published: Mapping[str, Any]) -> dict[str, Convention]:
    """Returns how each implementation uses the detector of a published configuration.

    "transformers" is the published configuration itself; "transformers_rgb" turns the channels as
    its program does with local files. "detectron2" is LXMERT's extraction. "caffe" is the original
    with 36 boxes and "caffe_adaptive" with 10 to 100, each for the weights that were made for it.
    """
    sizes = merged_sizes(published)
    detector = detector_of(published)
    own = PixelRule(
        sizes["INPUT"]["MIN_SIZE_TEST"],
        sizes["INPUT"]["MAX_SIZE_TEST"],
        mean=tuple(sizes["MODEL"]["PIXEL_MEAN"]),
        std=tuple(sizes["MODEL"]["PIXEL_STD"]),
    )
    first = own._replace(shortest=min(own.shortest, 600), longest=min(own.longest, 1000))
    ladder = detector.rule._replace(thresholds=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9))
    caffe = detector.clone(proposals=detector.proposals._replace(sides=CAFFE, least_side=16.0))
    adaptive = ConfidenceRule(least=10, most=100)
    opencv = first._replace(resize="opencv")
    return {
        "transformers": _convention(detector, own),
        "transformers_rgb": _convention(detector, own._replace(channels="rgb")),
        "detectron2": _convention(detector.clone(rule=ladder), first._replace(resize="pillow")),
        "caffe": _convention(caffe.clone(rule=ConfidenceRule()), opencv),
        "caffe_adaptive": _convention(caffe.clone(rule=adaptive), opencv),
    }


def _convention(detector: Frcnn, rule: PixelRule) -> Convention:
    return Convention(detector, partial(prepare, rule=rule), rule.shortest, rule.longest)


def columns(found: Found) -> dict[str, Any]:
    """Returns what was found under the names of `Regions`, whose classes have background first."""
    return {
        "labels": found.labels,
        "confidence": found.scores,
        "attributes": found.attributes,
        "attribute_confidence": found.attribute_scores,
        "class_scores": np.roll(found.class_scores, 1, axis=-1),
    }


def frcnn_table(detector: Frcnn) -> KeyTable:
    """The tensors of `GeneralizedRCNN`."""
    generator, predictor = "proposal_generator", "roi_heads.box_predictor"
    entries = [_layer("backbone.stem.conv1", "trunk/stem")]
    width = detector.stem
    for i, depth in enumerate(detector.depths[:3]):
        features = detector.width * 2**i
        shortcut = width != features
        entries.append(_stage(f"backbone.res{i + 2}", f"trunk/stage_{i}", depth, shortcut))
        width = features
    return key_table(
        entries,
        _stage("roi_heads.res5", "region_stage", detector.depths[3], True),
        raw(f"{generator}.anchor_generator.cell_anchors.0", "proposal_head/cell_anchors"),
        biased_conv(f"{generator}.rpn_head.conv", "proposal_head/hidden"),
        biased_conv(f"{generator}.rpn_head.objectness_logits", "proposal_head/logits"),
        biased_conv(f"{generator}.rpn_head.anchor_deltas", "proposal_head/deltas"),
        linear(f"{predictor}.cls_score", "class_head"),
        linear(f"{predictor}.bbox_pred", "box_head"),
        embedding(f"{predictor}.cls_embedding", "class_embedding"),
        linear(f"{predictor}.fc_attr", "attribute_layer"),
        linear(f"{predictor}.attr_score", "attribute_head"),
        unmodelled=UNMODELLED,
    )


def with_counters(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns published tensors with the counters of normalisations that lack theirs."""
    variance = "running_var"
    counters = {
        name.replace(variance, _COUNTER): np.zeros((), np.int64)
        for name in tensors
        if name.endswith(variance)
    }
    return counters | dict(tensors)


def _stage(published: str, ours: str, depth: int, shortcut: bool) -> Entries:
    entries = []
    for i in range(depth):
        layers = {f"conv{n + 1}": f"layer_{n}" for n in range(3)}
        if i == 0 and shortcut:
            layers["shortcut"] = "shortcut"
        entries += [
            _layer(f"{published}.{i}.{p}", f"{ours}/block_{i}/{o}") for p, o in layers.items()
        ]
    return entries


def _layer(published: str, ours: str) -> Entries:
    return normalised_conv(published, f"{published}.norm", ours)


def _plain(value: Any) -> Any:
    """Lists as tuples, which a file cannot tell apart."""
    return tuple(value) if isinstance(value, list) else value


register(
    PublishedDetector(
        name="frcnn_vg",
        conventions=conventions,
        key_table=frcnn_table,
        columns=columns,
        complete=with_counters,
        paper="Bottom-Up and Top-Down Attention for Image Captioning and Visual Question "
        "Answering, Anderson et al. 2018, https://arxiv.org/abs/1707.07998",
    )
)
