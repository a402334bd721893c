"""Every output of the LXMERT bundles, computed with the port."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import cross_entropy, labelled_mean
from vlp_jax.losses.regions import LOSS_SCALE, feature_losses, weighted_region_loss
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, gradients, load, quick_jit
from vlp_jax.verify.runner import RUNNERS


@RUNNERS.register("lxmert/pretrain")
def pretrain(bundle: Bundle) -> dict[str, Any]:
    """Every layer, all heads, the six losses, and the encoder once more with a region mask."""
    loaded = load(bundle)
    outputs = quick_jit(lambda params: _pretrain_outputs(loaded, params))(loaded.params)
    return outputs | gradients(loaded, lambda params: _pretrain_loss(loaded, params))


@RUNNERS.register("lxmert/vqa")
@RUNNERS.register("lxmert/gqa")
def answers(bundle: Bundle) -> dict[str, Any]:
    """Every layer and the answer logits."""
    loaded = load(bundle)
    return _task(loaded, lambda params: _answer_outputs(loaded, params))


@RUNNERS.register("lxmert/nlvr2")
def nlvr2(bundle: Bundle) -> dict[str, Any]:
    """Every layer, of each sentence with either image, and the logits of the pair."""
    loaded = load(bundle)
    return _task(loaded, lambda params: _pair_outputs(loaded, params))


@RUNNERS.register("lxmert/trunk")
def trunk(bundle: Bundle) -> dict[str, Any]:
    """Every layer."""
    loaded = load(bundle)
    return quick_jit(lambda params: _encoder_outputs(loaded, params)[0])(loaded.params)


def _task(loaded: Loaded, outputs: Any) -> dict[str, Any]:
    computed = quick_jit(outputs)(loaded.params)
    return computed | gradients(loaded, lambda params: outputs(params)["loss"])


def encode(model: Model, batch: dict[str, Array]) -> tuple[Fused, Array]:
    """Returns the fused tokens of a batch and their pooled vector."""
    image = model.encode_image(batch)
    text = model.encode_text(batch["text_ids"], batch["text_mask"], batch["text_segments"])
    fused = model.fuse(text, image)
    return fused, model.pool(fused)


def _batch(bundle: Bundle) -> dict[str, Array]:
    """Returns the bundle's inputs; two images of a sentence become two examples."""
    features = jnp.asarray(bundle.input("visual_feats"))
    boxes = jnp.asarray(bundle.input("boxes"))
    images = features.shape[1] if features.ndim == 4 else 1
    flat = lambda x: x.reshape(-1, *x.shape[-2:])
    repeat = lambda x: jnp.repeat(x, images, axis=0)
    return {
        "text_ids": repeat(bundle.ids("input_ids")),
        "text_mask": repeat(bundle.mask("attention_mask")),
        "text_segments": repeat(bundle.ids("token_type_ids")),
        "region_features": flat(features),
        "region_boxes": flat(boxes),
        "region_mask": jnp.ones(flat(features).shape[:2], bool),
    }


def _encoder_outputs(loaded: Loaded, params: Any) -> tuple[dict[str, Any], Fused]:
    batch = _batch(loaded.bundle)
    (fused, pooled), sown = loaded.trace(params, encode, batch)
    config, mask = loaded.config, batch["text_mask"]
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
    return {"pooled": pooled, **words, **regions}, fused


def _heads(loaded: Loaded, params: Any, fused: Fused) -> dict[str, Any]:
    regions = loaded.apply(params, lambda m, states: m.head("regions")(states), fused.image.states)
    words = loaded.apply(params, Model.word_logits, fused.text.states)
    return {
        "mlm_logits": Tokens(words, fused.text.mask),
        "itm_logits": loaded.apply(params, Model.match_logits, fused),
        "obj_logits": regions["object"],
        "attr_logits": regions["attribute"],
        "feat_pred": regions["feature"],
        "qa_logits": loaded.apply(params, Model.answer_logits, fused),
    }


def _pretrain_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    outputs, fused = _encoder_outputs(loaded, params)
    outputs |= _heads(loaded, params, fused)
    return outputs | _masked_outputs(loaded, params) | _losses(loaded.bundle, outputs)


def _masked_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    """The encoder under a mask of regions, which the published recipes never use."""
    batch = _batch(loaded.bundle) | {"region_mask": loaded.bundle.mask("extra_visual_mask")}
    fused, pooled = loaded.apply(params, encode, batch)
    return {
        "masked_language_output": fused.text,
        "masked_vision_output": fused.image,
        "masked_pooled": pooled,
    }


def _losses(bundle: Bundle, outputs: dict[str, Any]) -> dict[str, Array]:
    """The six losses and their sum; region labels count on all regions, by their confidence."""
    scale = bundle.config.get("visual_loss_normalizer", LOSS_SCALE)

    def visual(losses: Array, weights: str) -> Array:
        return weighted_region_loss(losses, bundle.input(weights), scale=scale)

    objects = cross_entropy(outputs["obj_logits"], bundle.ids("obj_labels"))
    attributes = cross_entropy(outputs["attr_logits"], bundle.ids("attr_labels"))
    features = feature_losses(outputs["feat_pred"], bundle.input("feat_labels"), "smooth_l1")
    losses = {
        "loss_mlm": labelled_mean(outputs["mlm_logits"].states, bundle.ids("masked_lm_labels")),
        "loss_match": cross_entropy(outputs["itm_logits"], bundle.ids("matched_label")).mean(),
        "loss_obj": visual(objects, "obj_conf"),
        "loss_attr": visual(attributes, "attr_conf"),
        "loss_feat": visual(features, "feat_mask"),
        "loss_qa": labelled_mean(outputs["qa_logits"], bundle.ids("ans")),
    }
    regions = losses["loss_obj"] + losses["loss_attr"] + losses["loss_feat"]
    total = losses["loss_mlm"] + losses["loss_match"] + regions + losses["loss_qa"]
    return losses | {"loss_total": total}


def _pretrain_loss(loaded: Loaded, params: Any) -> Array:
    fused, _ = loaded.apply(params, encode, _batch(loaded.bundle))
    return _losses(loaded.bundle, _heads(loaded, params, fused))["loss_total"]


def _answer_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    outputs, fused = _encoder_outputs(loaded, params)
    logits = loaded.apply(params, Model.answer_logits, fused)
    loss = answer_loss(logits, jnp.asarray(loaded.bundle.input("targets")), "bce")
    return outputs | {"logits": logits, "loss": loss}


def _pair_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    outputs, _ = _encoder_outputs(loaded, params)
    pooled = outputs["pooled"].reshape(-1, 2, outputs["pooled"].shape[-1])
    head = lambda model, first, second: model.head("nlvr2")(first, second)
    logits = loaded.apply(params, head, pooled[:, 0], pooled[:, 1])
    loss = cross_entropy(logits, loaded.bundle.ids("labels")).mean()
    return outputs | {"logits": logits, "loss": loss}
