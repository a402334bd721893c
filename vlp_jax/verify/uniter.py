"""Every output of the UNITER bundles.

The original packs each row's real words and real regions together; we keep them apart under masks,
which gives the same states, and pack only what a bundle expects in the packed order.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import cross_entropy, divergence_terms
from vlp_jax.losses.optimal_transport import alignment_loss, transport_distance
from vlp_jax.losses.regions import class_losses
from vlp_jax.losses.triplet import triplet_losses
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, gradients, load, quick_jit
from vlp_jax.verify.runner import RUNNERS

Outputs = dict[str, Any]


def _run(bundle: Bundle, outputs: Callable[[Loaded, Any], Outputs]) -> Outputs:
    """Returns the outputs, among them the loss, and the gradients of the loss."""
    loaded = load(bundle)
    computed = quick_jit(lambda params: outputs(loaded, params))(loaded.params)
    return computed | gradients(loaded, lambda params: outputs(loaded, params)["loss"])


@RUNNERS.register("uniter/pretrain")
@RUNNERS.register("uniter/vcr_pretrain")
def pretrain(bundle: Bundle) -> Outputs:
    """Masked words, masked regions, matching and word-region alignment: three forward passes."""
    return _run(bundle, _pretrain_outputs)


@RUNNERS.register("uniter/vqa")
def vqa(bundle: Bundle) -> Outputs:
    """Answer logits, and binary cross-entropy summed over answers."""

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        fused, computed = _forward(loaded, params)
        logits = loaded.apply(params, Model.answer_logits, fused)
        loss = answer_loss(logits, bundle.input("targets"), "bce")
        return computed | {"logits": logits, "loss": loss}

    return _run(bundle, outputs)


@RUNNERS.register("uniter/ve")
@RUNNERS.register("uniter/vcr")
def classify(bundle: Bundle) -> Outputs:
    """Class logits of a sentence about an image."""
    head = bundle.field("task")

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        fused, computed = _forward(loaded, params)
        logits = loaded.apply(params, Model.class_logits, head, fused)
        loss = cross_entropy(logits, bundle.ids("targets").reshape(-1)).mean()
        return computed | {"logits": logits, "loss": loss}

    return _run(bundle, outputs)


@RUNNERS.register("uniter/itm")
def retrieval(bundle: Bundle) -> Outputs:
    """Ranking scores; in each group of rows the first is to score higher than the others."""
    size, margin = int(bundle.number("sample_size")), bundle.field("margin")

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        fused, computed = _forward(loaded, params)
        scores = loaded.apply(params, Model.class_logits, "rank", fused)
        losses = triplet_losses(scores, size, margin)
        return computed | {
            "itm_logits": loaded.apply(params, Model.match_logits, fused),
            "rank_scores": scores,
            "rank_loss_elements": losses,
            "loss": losses.mean(),
        }

    return _run(bundle, outputs)


@RUNNERS.register("uniter/re")
def referring_expressions(bundle: Bundle) -> Outputs:
    """A score for each region."""
    objects = ~bundle.mask("obj_masks")

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        fused, computed = _forward(loaded, params)
        regions = Tokens(_blank_padding(fused.image), objects)
        scores = loaded.apply(params, lambda model, x: model.head("re")(x), regions)
        loss = cross_entropy(scores, bundle.ids("targets").reshape(-1)).mean()
        return computed | {"region_scores": scores, "loss": loss}

    return _run(bundle, outputs)


@RUNNERS.register("uniter/nlvr2")
def nlvr2(bundle: Bundle) -> Outputs:
    """Two classes for two images, in rows 2i and 2i + 1, and a sentence."""

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        fused, computed = _forward(loaded, params)
        sides = [jax.tree.map(lambda x, i=i: x[i::2], fused) for i in range(2)]
        head = lambda model, *pair: model.head("nlvr2")(*pair)
        logits, sown = loaded.trace(params, head, *sides)
        sown = {path.split("/")[-1]: value for path, value in sown.items()}
        return computed | {
            "cross_left_compact": _packed(bundle, sown["first_read"], slice(0, None, 2)),
            "cross_right_compact": _packed(bundle, sown["second_read"], slice(1, None, 2)),
            "pooled_left": sown["first_pooled"],
            "pooled_right": sown["second_pooled"],
            "logits": logits,
            "loss": cross_entropy(logits, bundle.ids("targets").reshape(-1)).mean(),
        }

    return _run(bundle, outputs)


def _fuse(loaded: Loaded, params: Any, ids: str = "input_ids", features: str = "img_feat") -> Any:
    """Runs embeddings and layers; `img_masks` say which regions' features were blanked."""
    bundle = loaded.bundle
    batch = {
        "region_features": bundle.input(features),
        "region_boxes": bundle.input("img_pos_feat"),
        "region_mask": bundle.mask("image_mask"),
    }
    if "img_type_ids" in bundle.inputs:
        batch["region_types"] = bundle.ids("img_type_ids")
    if features == "img_feat_masked":
        batch["region_hidden"] = bundle.mask("img_masks")
    segments = bundle.ids("txt_type_ids") if "txt_type_ids" in bundle.inputs else None

    def encode(model: Model) -> Fused:
        text = model.encode_text(bundle.ids(ids), bundle.mask("text_mask"), segments)
        return model.fuse(text, model.encode_image(batch))

    return loaded.trace(params, encode)


def _forward(loaded: Loaded, params: Any) -> tuple[Fused, Outputs]:
    """Runs the plain inputs; returns the fused tokens, and what all bundles expect of them."""
    bundle = loaded.bundle
    fused, sown = _fuse(loaded, params)
    text, image = fused.text, fused.image
    outputs = {
        "text_embedding": sown["text/embedding"],
        "image_embedding": sown["vision/embedding"],
        **_states(bundle, fused),
        "pooled": loaded.apply(params, Model.pool, fused),
    }
    for i in range(loaded.config.fusion_args["layers"]):
        words, regions = jnp.split(sown[f"fusion/layer_{i}_output"], [text.mask.shape[1]], axis=1)
        outputs[f"text_layer_{i}"] = Tokens(words, text.mask)
        outputs[f"image_layer_{i}"] = Tokens(regions, image.mask)
    return fused, outputs


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
    fused, outputs = _forward(loaded, params)
    words = loaded.apply(params, Model.word_logits, fused.text.states)
    outputs |= {"mlm_logits_all": Tokens(words, fused.text.mask)}
    outputs |= _matching_outputs(loaded, params, fused)
    outputs |= _masked_word_outputs(loaded, params)
    outputs |= _masked_region_outputs(loaded, params)
    parts = ("loss_mlm", "loss_mrfr", "loss_mrckl", "loss_itm_total")
    return outputs | {"loss": sum(outputs[part] for part in parts)}


def _matching_outputs(loaded: Loaded, params: Any, fused: Fused) -> Outputs:
    """Matching, and alignment: matched pairs are drawn together and others apart."""
    bundle = loaded.bundle
    targets = bundle.ids("targets")
    logits = loaded.apply(params, Model.match_logits, fused)
    losses = cross_entropy(logits, targets)
    distance = transport_distance(fused.text, fused.image)
    matched = targets == loaded.published.conventions.match_index
    alignment = alignment_loss(distance, matched)
    return {
        "itm_logits": logits,
        "itm_loss_per_sample": losses,
        "ot_distance": distance,
        "loss_wra": alignment,
        "loss_itm_total": losses.mean() + bundle.field("itm_ot_lambda") * alignment,
    }


def _masked_word_outputs(loaded: Loaded, params: Any) -> Outputs:
    labels = loaded.bundle.input("txt_labels")
    chosen = np.nonzero(labels != loaded.published.conventions.mlm_ignore)
    fused, _ = _fuse(loaded, params, ids="mlm_input_ids")
    logits = loaded.apply(params, Model.word_logits, fused.text.states)[chosen]
    losses = cross_entropy(logits, jnp.asarray(labels[chosen], jnp.int32))
    return {
        "mlm_logits_masked": logits,
        "mlm_loss_per_token": losses,
        "loss_mlm": losses.mean(),
    }


def _masked_region_outputs(loaded: Loaded, params: Any) -> Outputs:
    """Regression of features; classes against soft labels, and against the best real class."""
    bundle = loaded.bundle
    fused, _ = _fuse(loaded, params, features="img_feat_masked")
    chosen = np.nonzero(bundle.input("img_masks"))
    soft = jnp.asarray(bundle.input("label_targets"))

    def predict(model: Model, states: Array) -> tuple[Array, Array]:
        features = model.head("region_feature")(states, model.vision.feature_table())
        return features, model.head("region_classifier")(states)

    features, logits = (x[chosen] for x in loaded.apply(params, predict, fused.image.states))
    squares = jnp.square(features - bundle.input("feat_targets"))
    divergence = divergence_terms(logits, soft)
    return {
        **_states(bundle, fused, "masked_"),
        "mrfr_pred": features,
        "mrfr_loss_elements": squares,
        "loss_mrfr": squares.mean(),
        "mrc_logits": logits,
        "mrckl_loss_elements": divergence,
        "loss_mrckl": divergence.mean(),
        "mrc_hard_loss": class_losses(logits, soft, "ce"),
    }
