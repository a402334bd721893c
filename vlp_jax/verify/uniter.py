"""Every output of the UNITER bundles.

The original packs each row's real words and real regions together; we keep them apart under masks,
which gives the same states, and pack only what a bundle expects in the packed order.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.data.batch import IGNORE
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.cross_entropy import cross_entropy, divergence_terms
from vlp_jax.losses.optimal_transport import alignment_loss, transport_distance
from vlp_jax.losses.regions import class_losses
from vlp_jax.losses.triplet import triplet_losses
from vlp_jax.model import CAPTION
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.tasks import matching
from vlp_jax.tasks.alignment import AlignmentTask
from vlp_jax.tasks.answers import AnswerTask, answer_logits
from vlp_jax.tasks.masked_regions import RegionClassTask, RegionFeatureTask
from vlp_jax.tasks.masked_text import MaskedTextTask
from vlp_jax.tasks.pairs import PairTask
from vlp_jax.tasks.questions import QUESTION
from vlp_jax.tasks.texts import MASKED
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, TracedViews, consecutive, run, task_loss
from vlp_jax.verify.runner import RUNNERS

Outputs = dict[str, Any]


@RUNNERS.register("uniter/pretrain")
@RUNNERS.register("uniter/vcr_pretrain")
def pretrain(bundle: Bundle) -> Outputs:
    """Masked words, masked regions, matching and word-region alignment: three forward passes."""
    return run(bundle, _pretrain_outputs)


@RUNNERS.register("uniter/vqa")
def vqa(bundle: Bundle) -> Outputs:
    """Answer logits, and binary cross-entropy summed over answers."""

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        views = _views(loaded, params)
        views.batch |= {"answer_scores": jnp.asarray(bundle.input("targets"))}
        loss = task_loss(AnswerTask(form="bce"), views)
        return _streams(loaded, views) | {"logits": answer_logits(views), "loss": loss}

    return run(bundle, outputs)


@RUNNERS.register("uniter/ve")
@RUNNERS.register("uniter/vcr")
def classify(bundle: Bundle) -> Outputs:
    """Class logits of a sentence about an image."""
    head = bundle.field("task")

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        views = _views(loaded, params)
        logits = views.head(head)
        loss = cross_entropy(logits, bundle.ids("targets").reshape(-1)).mean()
        return _streams(loaded, views) | {"logits": logits, "loss": loss}

    return run(bundle, outputs)


@RUNNERS.register("uniter/itm")
def retrieval(bundle: Bundle) -> Outputs:
    """Ranking scores; in each group of rows the first is to score higher than the others."""
    size, margin = int(bundle.number("sample_size")), bundle.field("margin")

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        views = _views(loaded, params)
        scores = views.head("rank")
        losses = triplet_losses(scores, size, margin)
        return _streams(loaded, views) | {
            "itm_logits": views.head(matching.HEAD),
            "rank_scores": scores,
            "rank_loss_elements": losses,
            "loss": losses.mean(),
        }

    return run(bundle, outputs)


@RUNNERS.register("uniter/re")
def referring_expressions(bundle: Bundle) -> Outputs:
    """A score for each region."""
    objects = ~bundle.mask("obj_masks")

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        views = _views(loaded, params)
        fused = views.fused()
        regions = Tokens(_blank_padding(fused.image), objects)
        scores = views.head_of("re", fused.replace(image=regions), "regions")
        loss = cross_entropy(scores, bundle.ids("targets").reshape(-1)).mean()
        return _streams(loaded, views) | {"region_scores": scores, "loss": loss}

    return run(bundle, outputs)


@RUNNERS.register("uniter/nlvr2")
def nlvr2(bundle: Bundle) -> Outputs:
    """Two classes for two images, in rows 2i and 2i + 1, and a sentence."""

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        views = _views(loaded, params)
        sides = consecutive(views.fused())
        logits, sown = loaded.trace(params, Model.read, "nlvr2", Reading((), (), sides))
        sown = {path.split("/")[-1]: value for path, value in sown.items()}
        return _streams(loaded, views) | {
            "cross_left_compact": _packed(bundle, sown["first_read"], slice(0, None, 2)),
            "cross_right_compact": _packed(bundle, sown["second_read"], slice(1, None, 2)),
            "pooled_left": sown["first_pooled"],
            "pooled_right": sown["second_pooled"],
            "logits": logits,
            "loss": cross_entropy(logits, bundle.ids("targets").reshape(-1)).mean(),
        }

    return run(bundle, outputs)


def _views(loaded: Loaded, params: Any, ids: str = "", features: str = "img_feat") -> TracedViews:
    """Returns the views of a bundle; a question is the caption, too.

    `ids` are those of masked words; `img_masks` say which regions' features were blanked.
    """
    bundle = loaded.bundle
    batch = {
        "region_features": bundle.input(features),
        "region_boxes": bundle.input("img_pos_feat"),
        "region_mask": bundle.mask("image_mask"),
        **{name: bundle.ids("input_ids") for name in (CAPTION.ids, QUESTION.ids)},
        **{name: bundle.mask("text_mask") for name in (CAPTION.mask, QUESTION.mask)},
    }
    if "img_type_ids" in bundle.inputs:
        batch["region_types"] = bundle.ids("img_type_ids")
    if features == "img_feat_masked":
        batch["region_hidden"] = bundle.mask("img_masks")
    if "txt_type_ids" in bundle.inputs:
        batch[CAPTION.segments] = bundle.ids("txt_type_ids")
    if ids:
        batch[MASKED.ids] = bundle.ids(ids)
    return loaded.views(params, batch)


def _streams(loaded: Loaded, views: TracedViews) -> Outputs:
    """Returns what all bundles expect of a pass."""
    fused = views.fused()
    text, image = fused.text, fused.image
    outputs = {**_states(loaded.bundle, fused), "pooled": views.pooled()}
    outputs["text_embedding"] = views.sown["text/embedding"]
    outputs["image_embedding"] = views.sown["vision/embedding"]
    for i in range(loaded.config.fusion_args["layers"]):
        joined = views.sown[f"fusion/layer_{i}_output"]
        words, regions = jnp.split(joined, [text.mask.shape[1]], axis=1)
        outputs[f"text_layer_{i}"] = Tokens(words, text.mask)
        outputs[f"image_layer_{i}"] = Tokens(regions, image.mask)
    return outputs


def _states(bundle: Bundle, fused: Fused, prefix: str = "") -> Outputs:
    joined = fused.text.concatenate(fused.image).states
    return {
        f"{prefix}text_output": fused.text,
        f"{prefix}image_output": fused.image,
        f"{prefix}sequence_compact": _packed(bundle, joined),
    }


def _packed(bundle: Bundle, joined: Array, rows: slice = slice(None)) -> Tokens:
    """[padded text | padded regions] of some rows -> the original's order, padding at the end."""
    index = bundle.ids("gather_index")[rows]
    states = jnp.take_along_axis(joined, index[..., None], axis=1)
    return Tokens(states, bundle.mask("attn_masks")[rows])


def _blank_padding(tokens: Tokens) -> Array:
    return jnp.where(tokens.mask[..., None], tokens.states, 0.0)


def _pretrain_outputs(loaded: Loaded, params: Any) -> Outputs:
    views = _views(loaded, params, ids="mlm_input_ids")
    outputs = _streams(loaded, views)
    words = views.head("mlm")
    outputs |= {"mlm_logits_all": Tokens(words, views.text().mask)}
    outputs |= _matching_outputs(loaded, views)
    outputs |= _masked_word_outputs(loaded, views)
    outputs |= _masked_region_outputs(loaded, params)
    parts = ("loss_mlm", "loss_mrfr", "loss_mrckl", "loss_itm_total")
    return outputs | {"loss": sum(outputs[part] for part in parts)}


def _matching_outputs(loaded: Loaded, views: TracedViews) -> Outputs:
    """Matching, and alignment: matched pairs are drawn together and others apart."""
    bundle, fused = loaded.bundle, views.fused()
    matched = bundle.ids("targets") == loaded.published.conventions.match_index
    views.batch["pair_labels"] = 1 - matched.astype(jnp.int32)
    logits, task = views.head(matching.HEAD), AlignmentTask()
    distance = transport_distance(fused.text, fused.image, task.beta, task.iterations, task.inner)
    alignment = alignment_loss(distance, matched)
    match = task_loss(PairTask(text="clean"), views)
    return {
        "itm_logits": logits,
        "itm_loss_per_sample": cross_entropy(logits, bundle.ids("targets")),
        "ot_distance": distance,
        "loss_wra": alignment,
        "loss_itm_total": match + bundle.field("itm_ot_lambda") * alignment,
    }


def _masked_word_outputs(loaded: Loaded, views: TracedViews) -> Outputs:
    labels = loaded.bundle.input("txt_labels")
    chosen = labels != loaded.published.conventions.mlm_ignore
    views.batch["mlm_labels"] = jnp.asarray(np.where(chosen, labels, IGNORE), jnp.int32)
    rows = np.nonzero(chosen)
    logits = views.head("mlm", MASKED)[rows]
    return {
        "mlm_logits_masked": logits,
        "mlm_loss_per_token": cross_entropy(logits, views.batch["mlm_labels"][rows]),
        "loss_mlm": task_loss(MaskedTextTask(), views),
    }


def _masked_region_outputs(loaded: Loaded, params: Any) -> Outputs:
    """Regression of features; classes against soft labels, and against the best real class."""
    bundle = loaded.bundle
    chosen = np.nonzero(bundle.input("img_masks"))
    views = _views(loaded, params, features="img_feat_masked")
    views.batch |= {
        name: jnp.zeros((*views.batch["region_mask"].shape, given.shape[-1])).at[chosen].set(given)
        for name, given in (
            ("region_targets", bundle.input("feat_targets")),
            ("region_class_scores", bundle.input("label_targets")),
        )
    }
    features, targets = (x[chosen] for x in RegionFeatureTask().predict(views))
    logits, soft = (x[chosen] for x in RegionClassTask().predict(views))
    return {
        **_states(bundle, views.fused(), "masked_"),
        "mrfr_pred": features,
        "mrfr_loss_elements": jnp.square(features - targets),
        "loss_mrfr": task_loss(RegionFeatureTask(form="l2"), views),
        "mrc_logits": logits,
        "mrckl_loss_elements": divergence_terms(logits, soft),
        "loss_mrckl": task_loss(RegionClassTask(form="kl_mean"), views),
        "mrc_hard_loss": class_losses(logits, soft, "ce"),
    }
