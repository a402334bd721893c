"""Every output of the ViLBERT bundles: pre-training, 12-in-1, and the first release's tasks."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import cross_entropy, labelled_mean, masked_mean
from vlp_jax.losses.regions import class_losses, feature_losses
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, gradients, load, quick_jit
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.zoo.vilbert_keys import fusion_places

Outputs = dict[str, Any]


@RUNNERS.register("vilbert/pretrain")
def pretrain(bundle: Bundle) -> Outputs:
    """Words, regions and matching."""
    return _run(load(bundle), _pretrain_heads, _pretrain_loss)


@RUNNERS.register("vilbert/12in1")
def multi_task(bundle: Bundle) -> Outputs:
    """All heads of the multi-task model."""
    return _run(load(bundle), _multi_task_heads, _multi_task_loss)


@RUNNERS.register("vilbert/vl")
def beta(bundle: Bundle) -> Outputs:
    """All heads of the first release's model for tasks."""
    return _run(load(bundle), _task_heads, _task_loss)


def _run(loaded: Loaded, heads: Callable, loss: Callable) -> Outputs:
    """Computes the streams, the outputs of `heads`, and the gradients of `loss` of these."""

    def outputs(params: Any) -> Outputs:
        (text, fused), sown = loaded.trace(params, _forward, loaded.bundle)
        _, pooled = loaded.trace(params, Model.pool, fused)
        result = {
            **_layer_outputs(loaded, sown, fused),
            "text_valid": fused.text.mask,
            "text_output": fused.text,
            "image_output": fused.image,
            "pooled_text": pooled["pooler/text_output"],
            "pooled_image": pooled["pooler/image_output"],
            **heads(loaded, params, fused),
        }
        return result | loss(loaded.bundle, result)

    computed = quick_jit(outputs)(loaded.params)
    return computed | gradients(loaded, lambda params: outputs(params)["loss"])


def _forward(model: Model, bundle: Bundle) -> tuple[Tokens, Fused]:
    """Encodes both streams and fuses them; regions come with the global one in front."""
    image = model.encode_image(
        {
            "region_features": jnp.asarray(bundle.input("features"), jnp.float32),
            "region_boxes": jnp.asarray(bundle.input("spatials"), jnp.float32),
            "region_mask": bundle.mask("image_mask"),
        }
    )
    tasks = {"tasks": bundle.ids("task_ids")} if model.text.tasks else {}
    ids, mask = bundle.ids("input_ids"), bundle.mask("attention_mask")
    text = model.encode_text(ids, mask, bundle.ids("token_type_ids"), **tasks)
    return text, model.fuse(text, image)


def _layer_outputs(loaded: Loaded, sown: dict[str, Array], fused: Fused) -> Outputs:
    """Embeddings, connections, and the layers of each stream, counted through as published."""
    config = loaded.config
    streams = (("text", "text", fused.text.mask), ("image", "vision", fused.image.mask))
    outputs: Outputs = {}
    for stream, encoder, mask in streams:
        outputs[f"{stream}_embedding"] = Tokens(sown[f"{encoder}/embedding"], mask)
        first = (config.text_args if stream == "text" else config.vision_args)["layers"]
        paths = [f"{encoder}/layer_{i}_output" for i in range(first)]
        for place in fusion_places(config):
            own = place.text if stream == "text" else place.image
            paths += [f"fusion/{path}_output" for path in own]
        for i, path in enumerate(paths):
            outputs[f"{stream}_layer_{i}"] = Tokens(sown[path], mask)
        for i, place in enumerate(fusion_places(config)):
            states = sown[f"fusion/{place.connection}/{stream}_connection/output"]
            outputs[f"connect_{i}_{stream}"] = Tokens(states, mask)
    return outputs


def _base_heads(loaded: Loaded, params: Any, fused: Fused) -> tuple[Tokens, Tokens, Array]:
    """Returns word logits, region logits and matching logits."""
    words = loaded.apply(params, Model.word_logits, fused.text.states)
    (regions,) = _head(loaded, params, "regions", fused.image.states).values()
    match = loaded.apply(params, Model.match_logits, fused)
    return Tokens(words, fused.text.mask), Tokens(regions, fused.image.mask), match


def _head(loaded: Loaded, params: Any, name: str, *inputs: Any) -> Any:
    return loaded.apply(params, lambda model, *x: model.head(name)(*x), *inputs)


def _pretrain_heads(loaded: Loaded, params: Any, fused: Fused) -> Outputs:
    names = ("mlm_logits", "region_logits", "itm_logits")
    return dict(zip(names, _base_heads(loaded, params, fused)))


def _task_heads(loaded: Loaded, params: Any, fused: Fused) -> Outputs:
    names = ("linguisic_prediction", "vision_prediction", "bi_seq_relationship")
    scores = _head(loaded, params, "grounding", fused.image)[..., None]
    words = _head(loaded, params, "words", fused.text)[..., None]
    return {
        **dict(zip(names, _base_heads(loaded, params, fused))),
        "vil_prediction": loaded.apply(params, Model.class_logits, "vqa", fused),
        "vil_logit": loaded.apply(params, Model.class_logits, "ranking", fused),
        "vision_logit": Tokens(scores, fused.image.mask),
        "linguisic_logit": Tokens(words, fused.text.mask),
    }


def _multi_task_heads(loaded: Loaded, params: Any, fused: Fused) -> Outputs:
    pairs = consecutive_pairs(loaded.apply(params, Model.pool, fused))
    return {
        **_task_heads(loaded, params, fused),
        "vil_prediction_gqa": loaded.apply(params, Model.class_logits, "gqa", fused),
        "vil_tri_prediction": loaded.apply(params, Model.class_logits, "ve", fused),
        "vil_binary_prediction": _head(loaded, params, "nlvr2", *pairs),
    }


def consecutive_pairs(pooled: Array) -> tuple[Array, Array]:
    """Splits [2B, D], in which both images of a sentence follow each other, into [B, D] twice.

    The original returns the matching logits, without a word, for an odd number of rows; this is a
    ValueError.
    """
    if len(pooled) % 2:
        raise ValueError(f"{len(pooled)} rows cannot be paired: NLVR2 needs two images a sentence")
    return pooled[0::2], pooled[1::2]


def _pretrain_loss(bundle: Bundle, outputs: Outputs) -> Outputs:
    matching = cross_entropy(outputs["itm_logits"], bundle.ids("next_sentence_label"))
    losses = {
        "loss_mlm": labelled_mean(outputs["mlm_logits"].states, bundle.ids("masked_lm_labels")),
        "loss_region": _region_loss(bundle, outputs["region_logits"].states[:, 1:]),
        "loss_itm": matching.mean(),
    }
    return losses | {"loss": sum(losses.values())}


def _region_loss(bundle: Bundle, predicted: Array) -> Array:
    """KL to the detector's classes, or squared error to its features, of the masked regions."""
    target = jnp.asarray(bundle.input("image_target"), jnp.float32)
    form = bundle.config.get("visual_target", 0)
    if form == 0:
        loss = class_losses(predicted, target, "kl_sum")
    elif form == 1:
        loss = feature_losses(predicted, target)
    else:
        raise ValueError(f"visual_target = {form}: its loss samples at random; expected 0 or 1")
    return masked_mean(loss, bundle.ids("image_label") == 1)


def _task_loss(bundle: Bundle, outputs: Outputs) -> Outputs:
    """Answers, multiple choice and grounding."""
    choices = bundle.ids("choice_labels")
    scores = outputs["vision_logit"].states[..., 0]
    targets = jnp.asarray(bundle.input("vqa_targets"), jnp.float32)
    loss = (
        answer_loss(outputs["vil_prediction"], targets, "bce")
        + cross_entropy(outputs["vil_logit"].reshape(len(choices), -1), choices).mean()
        + cross_entropy(scores, bundle.ids("region_labels")).mean()
    )
    return {"loss": loss}


def _multi_task_loss(bundle: Bundle, outputs: Outputs) -> Outputs:
    """The same and GQA, entailment, NLVR2, and a penalty that reaches the word scores."""
    labels = {
        "vil_prediction_gqa": "gqa_labels",
        "vil_tri_prediction": "tri_labels",
        "vil_binary_prediction": "binary_labels",
    }
    loss = _task_loss(bundle, outputs)["loss"] + sum(
        cross_entropy(outputs[name], bundle.ids(label)).mean() for name, label in labels.items()
    )
    words = outputs["linguisic_logit"]
    return {"loss": loss + (jnp.square(words.states[..., 0]) * words.mask).mean()}
