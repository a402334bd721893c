"""The detector of VinVL: its published configuration, and the names of its tensors.

"VinVL: Revisiting Visual Representations in Vision-Language Models" (Zhang et al. 2021),
https://arxiv.org/abs/2101.00529; microsoft/scene_graph_benchmark, file `vinvl_vg_x152c4.pth`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from vlp_jax.config import nearest
from vlp_jax.detectors.attribute_choice import AttributeRule
from vlp_jax.detectors.boxes import INCLUSIVE
from vlp_jax.detectors.proposals import ProposalRule
from vlp_jax.detectors.surviving_class import SurvivorRule
from vlp_jax.detectors.vinvl import Found, Vinvl, VinvlRule
from vlp_jax.detectors.vinvl_pixels import MEAN, SLACK, prepare_vinvl
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

# `vinvl_x152c4.yaml` and what its code assumes of the rest, as features are extracted with it.
SIZES = {
    "MODEL.BACKBONE.CONV_BODY": "R-152-C4",
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 256,
    "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 1024,
    "MODEL.RESNETS.NUM_GROUPS": 32,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 8,
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RPN.ANCHOR_SIZES": (32, 64, 128, 256, 512),
    "MODEL.RPN.ASPECT_RATIOS": (0.5, 1.0, 2.0),
    "MODEL.RPN.PRE_NMS_TOP_N_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOP_N_TEST": 300,
    "MODEL.RPN.NMS_THRESH": 0.7,
    "MODEL.ROI_HEADS.NMS_FILTER": 1,
    "MODEL.ROI_HEADS.SCORE_THRESH": 0.2,
    "MODEL.ROI_HEADS.DETECTIONS_PER_IMG": 100,
    "MODEL.ROI_HEADS.MIN_DETECTIONS_PER_IMG": 10,
    "MODEL.ROI_BOX_HEAD.NUM_CLASSES": 1595,
    "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION": 14,
    "MODEL.ROI_ATTRIBUTE_HEAD.NUM_ATTRIBUTES": 525,
    "MODEL.ROI_ATTRIBUTE_HEAD.CLS_EMD_DIM": 256,
    "MODEL.ROI_ATTRIBUTE_HEAD.ATTR_EMD_DIM": 512,
    "MODEL.ROI_ATTRIBUTE_HEAD.MAX_NUM_ATTR_PER_IMG": 100,
    "MODEL.ROI_ATTRIBUTE_HEAD.MAX_NUM_ATTR_PER_OBJ": 16,
    "MODEL.ROI_ATTRIBUTE_HEAD.POSTPROCESS_ATTRIBUTES_THRESHOLD": 0.05,
    "TEST.IGNORE_BOX_REGRESSION": True,
    "INPUT.MIN_SIZE_TEST": 600,
    "INPUT.MAX_SIZE_TEST": 1000,
    "INPUT.PIXEL_MEAN": MEAN,
}
# Blocks of the first three stages; the one that reads regions has three.
DEPTHS = {"R-50-C4": (3, 4, 6), "R-101-C4": (3, 4, 23), "R-152-C4": (3, 8, 36)}
_FIXED = ("MODEL.RESNETS.STRIDE_IN_1X1", "MODEL.ROI_HEADS.NMS_FILTER")


def detector_of(published: Mapping[str, Any]) -> Vinvl:
    """Returns the detector of a published configuration, whose other entries are as in `SIZES`.

    Raises ValueError for what this detector is not.
    """
    sizes = {**SIZES, **published}
    _check(sizes)
    resnet, heads, attributes = (
        lambda name, section=section: sizes[f"MODEL.{section}.{name}"]
        for section in ("RESNETS", "ROI_HEADS", "ROI_ATTRIBUTE_HEAD")
    )
    return Vinvl(
        stem=resnet("STEM_OUT_CHANNELS"),
        width=resnet("RES2_OUT_CHANNELS"),
        groups=resnet("NUM_GROUPS"),
        group_width=resnet("WIDTH_PER_GROUP"),
        depths=(*DEPTHS[sizes["MODEL.BACKBONE.CONV_BODY"]], 3),
        anchor_sizes=tuple(sizes["MODEL.RPN.ANCHOR_SIZES"]),
        anchor_ratios=tuple(sizes["MODEL.RPN.ASPECT_RATIOS"]),
        classes=sizes["MODEL.ROI_BOX_HEAD.NUM_CLASSES"] - 1,
        attributes=attributes("NUM_ATTRIBUTES") - 1,
        class_width=attributes("CLS_EMD_DIM"),
        attribute_width=attributes("ATTR_EMD_DIM"),
        bins=sizes["MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION"],
        proposals=ProposalRule(
            ranked=sizes["MODEL.RPN.PRE_NMS_TOP_N_TEST"],
            kept=sizes["MODEL.RPN.POST_NMS_TOP_N_TEST"],
            threshold=sizes["MODEL.RPN.NMS_THRESH"],
            score="sigmoid",
            sides=INCLUSIVE,
        ),
        rule=VinvlRule(
            moves_boxes=not sizes["TEST.IGNORE_BOX_REGRESSION"],
            survivors=SurvivorRule(
                heads("MIN_DETECTIONS_PER_IMG"), heads("DETECTIONS_PER_IMG"), heads("SCORE_THRESH")
            ),
            attributes=AttributeRule(
                attributes("POSTPROCESS_ATTRIBUTES_THRESHOLD"),
                attributes("MAX_NUM_ATTR_PER_IMG"),
                attributes("MAX_NUM_ATTR_PER_OBJ"),
            ),
        ),
    )


def _check(sizes: Mapping[str, Any]) -> None:
    body = "MODEL.BACKBONE.CONV_BODY"
    if sizes[body] not in DEPTHS:
        raise ValueError(f"{body} is {sizes[body]!r}, expected one of {', '.join(DEPTHS)}")
    for name in _FIXED:
        if sizes[name] != SIZES[name]:
            raise ValueError(f"{name} is {sizes[name]!r}, expected {SIZES[name]!r}")
    last, first = (sizes[f"MODEL.RESNETS.{n}_OUT_CHANNELS"] for n in ("BACKBONE", "RES2"))
    if last != 4 * first:
        raise ValueError(
            f"MODEL.RESNETS.BACKBONE_OUT_CHANNELS is {last}, expected four times "
            f"RES2_OUT_CHANNELS, {4 * first}"
        )


def conventions(published: Mapping[str, Any]) -> dict[str, Convention]:
    """Returns how the published programs use the detector of a published configuration.

    "features" is the extraction that OSCAR+'s files come from: regions have the proposals' boxes.
    "demo" moves them. Raises ValueError for misspelt names.
    """
    for name in published:
        if name not in SIZES and (meant := nearest(name, SIZES)):
            raise ValueError(f'the configuration has no entry "{name}".{meant}')
    return {
        name: _convention({**SIZES, **published, "TEST.IGNORE_BOX_REGRESSION": ignore})
        for name, ignore in (("features", True), ("demo", False))
    }


def _convention(sizes: Mapping[str, Any]) -> Convention:
    shortest, longest = sizes["INPUT.MIN_SIZE_TEST"], sizes["INPUT.MAX_SIZE_TEST"]
    read = dict(shortest=shortest, longest=longest, mean=tuple(sizes["INPUT.PIXEL_MEAN"]))
    return Convention(detector_of(sizes), partial(prepare_vinvl, **read), shortest, longest + SLACK)


def columns(found: Found) -> dict[str, Any]:
    """Returns what was found under the names of `Regions`, with classes from 0 on.

    Of a region's attributes it is the likeliest; where there is none its confidence is 0.
    """
    return {
        "labels": found.labels - 1,
        "confidence": found.scores,
        "attributes": np.maximum(found.attribute_labels[..., 0] - 1, 0),
        "attribute_confidence": found.attribute_scores[..., 0],
    }


def vinvl_table(detector: Vinvl) -> KeyTable:
    """The tensors of `AttrRCNN`; the stage that reads regions is there twice."""
    predictor, attribute = "roi_heads.box.predictor", "attribute.predictor"
    entries = [normalised_conv("backbone.body.stem.conv1", "backbone.body.stem.bn1", "trunk/stem")]
    for i, depth in enumerate(detector.depths[:3]):
        entries.append(_stage(f"backbone.body.layer{i + 1}", f"trunk/stage_{i}", depth))
    head = "feature_extractor.head.layer4"
    reads_regions = f"roi_heads.box.{head}", "region_stage", detector.depths[3]
    return key_table(
        entries,
        _stage(*reads_regions, copy=f"attribute.{head}"),
        raw("rpn.anchor_generator.cell_anchors.0", "proposal_head/cell_anchors"),
        biased_conv("rpn.head.conv", "proposal_head/hidden"),
        biased_conv("rpn.head.cls_logits", "proposal_head/logits"),
        biased_conv("rpn.head.bbox_pred", "proposal_head/deltas"),
        linear(f"{predictor}.cls_score", "class_head"),
        linear(f"{predictor}.bbox_pred", "box_head"),
        embedding(f"{attribute}.cls_embedding", "class_embedding"),
        linear(f"{attribute}.fc_attr", "attribute_layer"),
        linear(f"{attribute}.attr_score", "attribute_head"),
    )


def _stage(published: str, ours: str, depth: int, copy: str = "") -> Entries:
    """`Stage`; `copy` is a second prefix of the same numbers."""
    prefixes = [prefix for prefix in (published, copy) if prefix]
    entries = []
    for i in range(depth):
        layers = {f"layer_{n}": (f"conv{n + 1}", f"bn{n + 1}") for n in range(3)}
        if i == 0:
            layers["shortcut"] = ("downsample.0", "downsample.1")
        for layer, names in layers.items():
            first, *copies = [tuple(f"{p}.{i}.{n}" for n in names) for p in prefixes]
            entries.append(normalised_conv(*first, f"{ours}/block_{i}/{layer}", copies))
    return entries


register(
    PublishedDetector(
        name="vinvl_x152c4",
        conventions=conventions,
        key_table=vinvl_table,
        columns=columns,
        paper="VinVL: Revisiting Visual Representations in Vision-Language Models, Zhang et al. "
        "2021, https://arxiv.org/abs/2101.00529",
    )
)
