"""Every output of the LXMERT bundles, computed with the port."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.data.batch import IGNORE
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import cross_entropy, labelled_mean
from vlp_jax.losses.regions import LOSS_SCALE
from vlp_jax.model import CAPTION
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.tasks import matching
from vlp_jax.tasks.answers import answer_logits
from vlp_jax.tasks.masked_text import MaskedTextTask
from vlp_jax.tasks.pairs import PairTask
from vlp_jax.tasks.questions import QUESTION
from vlp_jax.tasks.region_labels import RegionLabelsTask
from vlp_jax.tasks.texts import MASKED
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, TracedViews, consecutive, run, task_loss
from vlp_jax.verify.runner import RUNNERS

Outputs = dict[str, Any]


@RUNNERS.register("lxmert/pretrain")
def pretrain(bundle: Bundle) -> Outputs:
    """Every layer, all heads, the six losses, and the encoder once more with a region mask."""
    return run(bundle, _pretrain_outputs)


@RUNNERS.register("lxmert/vqa")
@RUNNERS.register("lxmert/gqa")
def answers(bundle: Bundle) -> Outputs:
    """Every layer and the answer logits."""
    return run(bundle, _answer_outputs)


@RUNNERS.register("lxmert/nlvr2")
def nlvr2(bundle: Bundle) -> Outputs:
    """Every layer, of each sentence with either image, and the logits of the pair."""
    return run(bundle, _pair_outputs)


@RUNNERS.register("lxmert/trunk")
def trunk(bundle: Bundle) -> Outputs:
    """Every layer."""
    return run(bundle, lambda loaded, params: _streams(loaded, _views(loaded, params)))


def _views(loaded: Loaded, params: Any, mask: Array | None = None) -> TracedViews:
    """Returns the views of a bundle; two images of a sentence become two examples.

    The one text is the caption, the masked caption and the question.
    """
    bundle = loaded.bundle
    features, boxes = (jnp.asarray(bundle.input(name)) for name in ("visual_feats", "boxes"))
    images = features.shape[1] if features.ndim == 4 else 1
    flat = lambda x: x.reshape(-1, *x.shape[-2:])
    repeat = lambda x: jnp.repeat(x, images, axis=0)
    ids, words = repeat(bundle.ids("input_ids")), repeat(bundle.mask("attention_mask"))
    batch = {
        CAPTION.segments: repeat(bundle.ids("token_type_ids")),
        **{fields.ids: ids for fields in (CAPTION, MASKED, QUESTION)},
        **{fields.mask: words for fields in (CAPTION, MASKED, QUESTION)},
        "region_features": flat(features),
        "region_boxes": flat(boxes),
        "region_mask": jnp.ones(flat(features).shape[:2], bool) if mask is None else mask,
    }
    return loaded.views(params, batch)


def _streams(loaded: Loaded, views: TracedViews) -> Outputs:
    """Returns the pooled vector and every layer of both streams."""
    fused, pooled, sown = views.fused(), views.pooled(), views.sown
    config, mask = loaded.config, fused.text.mask
    words = {"text_embedding": sown["text/embedding"], "language_output": fused.text.states}
    regions = {"visual_embedding": sown["vision/embedding"], "vision_output": fused.image.states}
    for i in range(config.text_args["layers"]):
        words[f"lang_layer_{i}"] = sown[f"text/layer_{i}_output"]
    for i in range(config.vision_args["layers"]):
        regions[f"visn_layer_{i}"] = sown[f"vision/layer_{i}_output"]
    for i in range(config.fusion_args["layers"]):
        words[f"cross_{i}_lang"] = sown[f"fusion/text_layer_{i}_output"]
        regions[f"cross_{i}_visn"] = sown[f"fusion/image_layer_{i}_output"]
    words = {name: Tokens(states, mask) for name, states in words.items()}
    return {"pooled": pooled, **words, **regions}


def _pretrain_outputs(loaded: Loaded, params: Any) -> Outputs:
    views = _views(loaded, params)
    regions = views.head("regions")
    losses = _losses(loaded.bundle, views)
    return {
        **_streams(loaded, views),
        "mlm_logits": Tokens(views.head("mlm"), views.text().mask),
        "itm_logits": views.head(matching.HEAD),
        "obj_logits": regions["object"],
        "attr_logits": regions["attribute"],
        "feat_pred": regions["feature"],
        "qa_logits": answer_logits(views),
        **_masked_outputs(loaded, params),
        **losses,
        "loss": losses["loss_total"],
    }


def _masked_outputs(loaded: Loaded, params: Any) -> Outputs:
    """The encoder under a mask of regions, which the published recipes never use."""
    views = _views(loaded, params, loaded.bundle.mask("extra_visual_mask"))
    return {
        "masked_language_output": views.fused().text,
        "masked_vision_output": views.fused().image,
        "masked_pooled": views.pooled(),
    }


def _losses(bundle: Bundle, views: TracedViews) -> Outputs:
    """The six losses and their sum; region labels count on all regions, by their confidence."""
    labels = bundle.ids("masked_lm_labels")
    views.batch |= {
        "mlm_labels": jnp.where(labels < 0, IGNORE, labels),
        "pair_labels": 1 - bundle.ids("matched_label"),
        "region_labels": bundle.ids("obj_labels"),
        "region_confidence": jnp.asarray(bundle.input("obj_conf")),
        "region_attributes": bundle.ids("attr_labels"),
        "region_attribute_confidence": jnp.asarray(bundle.input("attr_conf")),
        "region_targets": jnp.asarray(bundle.input("feat_labels")),
        "region_hidden": bundle.mask("feat_mask"),
    }
    scale = bundle.config.get("visual_loss_normalizer", LOSS_SCALE)
    part = lambda name: RegionLabelsTask(parts=(name,), scale=scale, head="regions", text="clean")
    losses = {
        "loss_mlm": task_loss(MaskedTextTask(), views),
        "loss_match": task_loss(PairTask(), views),
        "loss_obj": task_loss(part("object"), views),
        "loss_attr": task_loss(part("attribute"), views),
        "loss_feat": task_loss(part("feature"), views),
        "loss_qa": labelled_mean(answer_logits(views), bundle.ids("ans")),
    }
    return losses | {"loss_total": sum(losses.values())}


def _answer_outputs(loaded: Loaded, params: Any) -> Outputs:
    views = _views(loaded, params)
    logits = answer_logits(views)
    loss = answer_loss(logits, jnp.asarray(loaded.bundle.input("targets")), "bce")
    return _streams(loaded, views) | {"logits": logits, "loss": loss}


def _pair_outputs(loaded: Loaded, params: Any) -> Outputs:
    views = _views(loaded, params)
    sides = consecutive(views.fused())
    logits = loaded.apply(params, Model.read, "nlvr2", Reading((), (), sides))
    loss = cross_entropy(logits, loaded.bundle.ids("labels")).mean()
    return _streams(loaded, views) | {"logits": logits, "loss": loss}
