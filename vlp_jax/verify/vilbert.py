"""Every output of the ViLBERT bundles: pre-training, 12-in-1, and the first release's tasks."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.data.batch import IGNORE
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.model import CAPTION
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.tasks import matching
from vlp_jax.tasks.answers import answer_logits
from vlp_jax.tasks.masked_regions import RegionClassTask, RegionFeatureTask
from vlp_jax.tasks.masked_text import MaskedTextTask
from vlp_jax.tasks.pairs import PairTask
from vlp_jax.tasks.questions import QUESTION
from vlp_jax.tasks.texts import MASKED
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, TracedViews, consecutive, run, task_loss
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.zoo.vilbert_keys import fusion_places

Outputs = dict[str, Any]


@RUNNERS.register("vilbert/pretrain")
def pretrain(bundle: Bundle) -> Outputs:
    """Words, regions and matching."""
    return _run(bundle, _pretrain_heads, _pretrain_loss)


@RUNNERS.register("vilbert/12in1")
def multi_task(bundle: Bundle) -> Outputs:
    """All heads of the multi-task model."""
    return _run(bundle, _multi_task_heads, _multi_task_loss)


@RUNNERS.register("vilbert/vl")
def beta(bundle: Bundle) -> Outputs:
    """All heads of the first release's model for tasks."""
    return _run(bundle, _task_heads, _task_loss)


def _run(bundle: Bundle, heads: Callable, loss: Callable) -> Outputs:
    """Computes the streams, the outputs of `heads`, and the gradients of `loss` of these."""

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        views = _views(loaded, params)
        views.pooled()
        fused = views.fused()
        result = {
            **_layer_outputs(loaded, views),
            "text_valid": fused.text.mask,
            "text_output": fused.text,
            "image_output": fused.image,
            "pooled_text": views.sown["pooler/text_output"],
            "pooled_image": views.sown["pooler/image_output"],
            **heads(loaded, params, views),
        }
        return result | loss(bundle, views, result)

    return run(bundle, outputs)


def _views(loaded: Loaded, params: Any) -> TracedViews:
    """Returns the views of a bundle; regions come with the global one in front.

    The one text is the caption, the masked caption and the question.
    """
    bundle = loaded.bundle
    ids, mask = bundle.ids("input_ids"), bundle.mask("attention_mask")
    segments = bundle.ids("token_type_ids")
    batch = {
        "region_features": jnp.asarray(bundle.input("features"), jnp.float32),
        "region_boxes": jnp.asarray(bundle.input("spatials"), jnp.float32),
        "region_mask": bundle.mask("image_mask"),
        **{fields.ids: ids for fields in (CAPTION, MASKED, QUESTION)},
        **{fields.mask: mask for fields in (CAPTION, MASKED, QUESTION)},
        CAPTION.segments: segments,
    }
    views = loaded.views(params, batch)
    tasks = {"tasks": bundle.ids("task_ids")} if loaded.model.text.tasks else {}

    def encode(model: Model, ids: Array, mask: Array, *, deterministic: bool) -> Tokens:
        return model.encode_text(ids, mask, segments, deterministic=deterministic, **tasks)

    for fields in (CAPTION, MASKED, QUESTION):  # one text, which may name its task
        views.once(fields.ids, encode, ids, mask)
    return views


def _layer_outputs(loaded: Loaded, views: TracedViews) -> Outputs:
    """Embeddings, connections, and the layers of each stream, counted through as published."""
    config, sown, fused = loaded.config, views.sown, views.fused()
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


def _base_heads(views: TracedViews) -> tuple[Tokens, Tokens, Array]:
    """Returns word logits, region logits and matching logits."""
    fused = views.fused()
    (regions,) = views.head("regions").values()
    words = Tokens(views.head("mlm"), fused.text.mask)
    return words, Tokens(regions, fused.image.mask), views.head(matching.HEAD)


def _pretrain_heads(loaded: Loaded, params: Any, views: TracedViews) -> Outputs:
    names = ("mlm_logits", "region_logits", "itm_logits")
    return dict(zip(names, _base_heads(views)))


def _task_heads(loaded: Loaded, params: Any, views: TracedViews) -> Outputs:
    names = ("linguisic_prediction", "vision_prediction", "bi_seq_relationship")
    fused = views.fused()
    return {
        **dict(zip(names, _base_heads(views))),
        "vil_prediction": answer_logits(views),
        "vil_logit": views.head("ranking"),
        "vision_logit": Tokens(views.head("grounding")[..., None], fused.image.mask),
        "linguisic_logit": Tokens(views.head("words")[..., None], fused.text.mask),
    }


def _multi_task_heads(loaded: Loaded, params: Any, views: TracedViews) -> Outputs:
    pairs = Reading((), (), consecutive(views.fused()))
    return {
        **_task_heads(loaded, params, views),
        "vil_prediction_gqa": views.head("gqa"),
        "vil_tri_prediction": views.head("ve"),
        "vil_binary_prediction": loaded.apply(params, Model.read, "nlvr2", pairs),
    }


def _pretrain_loss(bundle: Bundle, views: TracedViews, outputs: Outputs) -> Outputs:
    labels = bundle.ids("masked_lm_labels")
    views.batch |= {
        "mlm_labels": jnp.where(labels < 0, IGNORE, labels),
        # The bundles' label is the matching head's class, of which 0 is a match.
        "pair_labels": bundle.ids("next_sentence_label"),
    }
    losses = {
        "loss_mlm": task_loss(MaskedTextTask(), views),
        "loss_region": _region_loss(bundle, views),
        "loss_itm": task_loss(PairTask(), views),
    }
    return losses | {"loss": sum(losses.values())}


def _region_loss(bundle: Bundle, views: TracedViews) -> Array:
    """KL to the detector's classes, or squared error to its features, of the masked regions."""
    forms = {
        0: RegionClassTask(form="kl_sum", head="regions", text="masked"),
        1: RegionFeatureTask(form="l2", head="regions", text="masked"),
    }
    form = bundle.config.get("visual_target", 0)
    if form not in forms:
        raise ValueError(f"visual_target = {form}: its loss samples at random; expected 0 or 1")
    target = jnp.asarray(bundle.input("image_target"), jnp.float32)
    hidden = bundle.ids("image_label") == 1
    # The whole picture's region is in front and is never predicted.
    whole = lambda x: jnp.pad(x, [(0, 0), (1, 0)] + [(0, 0)] * (x.ndim - 2))
    views.batch |= {forms[form].targets: whole(target), "region_hidden": whole(hidden)}
    return task_loss(forms[form], views)


def _task_loss(bundle: Bundle, views: TracedViews, outputs: Outputs) -> Outputs:
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


def _multi_task_loss(bundle: Bundle, views: TracedViews, outputs: Outputs) -> Outputs:
    """The same and GQA, entailment, NLVR2, and a penalty that reaches the word scores."""
    labels = {
        "vil_prediction_gqa": "gqa_labels",
        "vil_tri_prediction": "tri_labels",
        "vil_binary_prediction": "binary_labels",
    }
    loss = _task_loss(bundle, views, outputs)["loss"] + sum(
        cross_entropy(outputs[name], bundle.ids(label)).mean() for name, label in labels.items()
    )
    words = outputs["linguisic_logit"]
    return {"loss": loss + (jnp.square(words.states[..., 0]) * words.mask).mean()}
