"""The losses of UNITER, ViLBERT, LXMERT, VisualBERT and OSCAR with explicit inputs."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.heads.answer_token import answer_position
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.captioning import mean_of_least, smoothed_losses
from vlp_jax.losses.cross_entropy import cross_entropy, labelled_mean, masked_mean
from vlp_jax.losses.optimal_transport import (
    alignment_loss,
    transport_cost,
    transport_distance,
    transport_plan,
)
from vlp_jax.losses.regions import class_losses, feature_losses, weighted_region_loss
from vlp_jax.losses.triplet import triplet_losses
from vlp_jax.verify.losses import LOSS_FUNCTIONS, Inputs, spread

Outputs = dict[str, Array]


@LOSS_FUNCTIONS.register("uniter_ot")
def transport(inputs: Inputs) -> Outputs:
    """Optimal transport between words and regions; the original's plan has regions first."""
    text = Tokens(inputs["text"], ~inputs.mask("text_pad"))
    image = Tokens(inputs["image"], ~inputs.mask("image_pad"))
    settings = inputs.number("beta"), inputs.number("iterations"), inputs.number("k")
    cost = transport_cost(text, image)
    distance = transport_distance(text, image, *settings)
    return {
        "distance": distance,
        "mean_distance": distance.mean(),
        "cost": cost,
        "plan": transport_plan(cost, text.mask, image.mask, *settings).swapaxes(1, 2),
    }


@LOSS_FUNCTIONS.register("uniter_mrfr")
def region_features(inputs: Inputs) -> Outputs:
    """Features of masked regions."""
    mask = inputs.mask("mask")
    losses = feature_losses(inputs["prediction"], spread(inputs["targets"], mask))
    return {"loss": masked_mean(losses, mask)}


@LOSS_FUNCTIONS.register("uniter_mrckl")
def region_classes(inputs: Inputs) -> Outputs:
    """Classes of masked regions, by divergence and by the best class."""
    mask = inputs.mask("mask")
    targets = spread(inputs["targets"], mask)
    loss = lambda form: masked_mean(class_losses(inputs["logits"], targets, form), mask)
    return {"loss": loss("kl_mean"), "loss_hard": loss("ce")}


@LOSS_FUNCTIONS.register("uniter_triplet")
def triplet(inputs: Inputs) -> Outputs:
    """The first of each group against the others."""
    losses = triplet_losses(inputs["scores"], inputs.number("sample_size"), inputs.number("margin"))
    return {"loss": losses.mean(), "elements": losses}


@LOSS_FUNCTIONS.register("uniter_itm_wra")
def matching_and_alignment(inputs: Inputs) -> Outputs:
    """Matching, and weighted alignment."""
    targets = inputs.ids("targets")
    alignment = alignment_loss(inputs["distance"], targets == 1)
    matching = cross_entropy(inputs["logits"], targets).mean()
    return {"loss": matching + inputs["weight"] * alignment, "wra": alignment}


@LOSS_FUNCTIONS.register("vqa_bce")
@LOSS_FUNCTIONS.register("oscar_vqa_bce")
def answers(inputs: Inputs) -> Outputs:
    """Answers, each on its own."""
    return {"loss": answer_loss(inputs["logits"], inputs["targets"], "bce")}


@LOSS_FUNCTIONS.register("visualbert_vqa_kl")
def answers_at_the_mask(inputs: Inputs) -> Outputs:
    """Answers by divergence, read at the last token but one."""
    position = answer_position(inputs.mask("input_mask"))[:, None, None]
    logits = jnp.take_along_axis(inputs["sequence_logits"], position, axis=1)[:, 0]
    return {"loss": answer_loss(logits, inputs["label"], "kl_unnormalised"), "logits": logits}


@LOSS_FUNCTIONS.register("vilbert_pretrain")
def vilbert(inputs: Inputs) -> Outputs:
    """Words, classes of regions, and alignment."""
    return _vilbert(inputs, class_losses, "kl_sum")


@LOSS_FUNCTIONS.register("vilbert_pretrain_feature_regression")
def vilbert_features(inputs: Inputs) -> Outputs:
    """Words, features of regions, and alignment."""
    return _vilbert(inputs, feature_losses, "l2")


def _vilbert(inputs: Inputs, region_losses: Any, form: str) -> Outputs:
    # The first region is the whole image, which is never predicted.
    regions = region_losses(inputs["region_output"][:, 1:], inputs["image_target"], form)
    parts = {
        "loss_mlm": labelled_mean(inputs["mlm_logits"], inputs.ids("masked_lm_labels")),
        "loss_region": masked_mean(regions, inputs.ids("image_label") == 1),
        "loss_alignment": _mean(inputs, "alignment_logits", "alignment_label"),
    }
    return _with_sum(parts)


@LOSS_FUNCTIONS.register("lxmert_pretrain")
def lxmert(inputs: Inputs) -> Outputs:
    """Words, matching, three of regions, and answers."""
    objects = cross_entropy(inputs["obj_logits"], inputs.ids("obj_labels"))
    attributes = cross_entropy(inputs["attr_logits"], inputs.ids("attr_labels"))
    features = feature_losses(inputs["feat_pred"], inputs["feat_labels"], "smooth_l1")
    parts = {
        "loss_mlm": labelled_mean(inputs["mlm_logits"], inputs.ids("masked_lm_labels")),
        "loss_match": _mean(inputs, "match_logits", "matched_label"),
        "loss_obj": weighted_region_loss(objects, inputs["obj_conf"]),
        "loss_attr": weighted_region_loss(attributes, inputs["attr_conf"]),
        "loss_feat": weighted_region_loss(features, inputs["feat_mask"]),
        "loss_qa": labelled_mean(inputs["qa_logits"], inputs.ids("ans")),
    }
    return _with_sum(parts)


@LOSS_FUNCTIONS.register("oscar_pretrain")
@LOSS_FUNCTIONS.register("oscarplus_pretrain")
def oscar(inputs: Inputs) -> Outputs:
    """Words and tags, and two or three classes of pairs."""
    parts = {
        "loss_mlm": labelled_mean(inputs["mlm_logits"], inputs.ids("masked_lm_labels")),
        "loss_contrastive": _mean(inputs, "contrastive_logits", "contrastive_label"),
    }
    return _with_sum(parts)


@LOSS_FUNCTIONS.register("oscar_caption")
def caption(inputs: Inputs) -> Outputs:
    """Masked words of captions, smoothed, without the worst."""
    losses = smoothed_losses(
        inputs["logits"], inputs.ids("targets"), inputs.number("label_smoothing")
    )
    counts = jnp.ones(losses.shape, bool)
    return {"loss": mean_of_least(losses, counts, inputs.number("drop_worst_ratio"))}


def _mean(inputs: Inputs, logits: str, labels: str) -> Array:
    return cross_entropy(inputs[logits], inputs.ids(labels)).mean()


def _with_sum(parts: Outputs) -> Outputs:
    return {"loss": sum(parts.values()), **parts}
