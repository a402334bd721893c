"""Every output of the OSCAR and OSCAR+ bundles."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.captioning import mean_of_least, smoothed_losses
from vlp_jax.losses.cross_entropy import cross_entropy, labelled_mean
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, gradients, load, quick_jit
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.zoo.oscar import BOX_NUMBERS

FAMILIES = ("oscar", "oscarplus")


def _for_families(*tasks: str):
    """Registers a runner for tasks of both families."""

    def add(runner):
        for family in FAMILIES:
            for task in tasks:
                RUNNERS.register(f"{family}/{task}")(runner)
        return runner

    return add


@_for_families("pretrain")
def pretrain(bundle: Bundle) -> dict[str, Any]:
    """Encoder, word logits at every position, contrastive logits and both losses."""
    return _run(bundle, _pretrain_outputs)


@_for_families("vqa", "gqa")
def answers(bundle: Bundle) -> dict[str, Any]:
    """Encoder and the logits of a classifier over answers."""
    return _run(bundle, _answer_outputs)


@_for_families("retrieval")
def retrieval(bundle: Bundle) -> dict[str, Any]:
    """Encoder and matching logits."""
    return _run(bundle, _retrieval_outputs)


@_for_families("nlvr2")
def nlvr2(bundle: Bundle) -> dict[str, Any]:
    """Encoder on both images of each pair, and the logits of the pair."""
    return _run(bundle, _nlvr2_outputs)


@_for_families("caption")
def caption(bundle: Bundle) -> dict[str, Any]:
    """Encoder under the query-key mask, word logits and the loss at masked positions."""
    return _run(bundle, _caption_outputs)


def _run(bundle: Bundle, outputs) -> dict[str, Any]:
    loaded = load(bundle)
    computed = quick_jit(lambda params: outputs(loaded, params))(loaded.params)
    return computed | gradients(loaded, lambda params: outputs(loaded, params)["loss"])


def encode(
    model: Model, batch: dict, ids: Array, mask: Array, segments: Array, joint_mask: Array | None
) -> Fused:
    """Returns text and regions after fusion."""
    text, image = model.encode_text(ids, mask, segments), model.encode_image(batch)
    return model.fuse(text, image, joint_mask=joint_mask)


def forward(loaded: Loaded, params: Any) -> tuple[Fused, dict[str, Any]]:
    """Runs the model on all rows; returns the fused tokens and the outputs of every bundle."""
    bundle = loaded.bundle
    rows = lambda x: x.reshape(-1, *x.shape[-2:])
    ids, regions = bundle.ids("input_ids"), rows(bundle.input("img_feats"))
    ids, segments = (x.reshape(-1, ids.shape[-1]) for x in (ids, bundle.ids("token_type_ids")))
    valid, joint_mask = _masks(bundle)
    length = ids.shape[1]
    batch = {
        "region_features": regions[..., :-BOX_NUMBERS],
        "region_boxes": regions[..., -BOX_NUMBERS:],
        "region_mask": valid[:, length:],
    }
    inputs = batch, ids, valid[:, :length], segments, joint_mask
    fused, sown = loaded.trace(params, encode, *inputs)
    layers = range(loaded.config.fusion_args["layers"])
    return fused, {
        "text_embedding": Tokens(sown["text/embedding"], fused.text.mask),
        "image_embedding": Tokens(sown["vision/embedding"], fused.image.mask),
        **{f"layer_{i}": Tokens(sown[f"fusion/layer_{i}_output"], valid) for i in layers},
        "sequence_output": fused.text.concatenate(fused.image),
    }


def _masks(bundle: Bundle) -> tuple[Bool[Array, "b t"], Bool[Array, "b t t"] | None]:
    """Returns which joint positions are real, and the query-key mask if the bundle has one."""
    mask = bundle.mask("attention_mask")
    if "valid" in bundle.inputs:
        return bundle.mask("valid"), mask
    return mask.reshape(-1, mask.shape[-1]), None


def _pretrain_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    bundle, (fused, outputs) = loaded.bundle, forward(loaded, params)
    joint = outputs["sequence_output"]
    words = loaded.apply(params, Model.word_logits, joint.states)
    contrastive = loaded.apply(params, Model.match_logits, fused)
    labels = bundle.ids("masked_lm_labels")
    losses = {
        "loss_mlm": labelled_mean(words[:, : labels.shape[1]], labels),
        "loss_contrastive": cross_entropy(contrastive, bundle.ids("next_sentence_label")).mean(),
    }
    return (
        outputs
        | losses
        | {
            "mlm_logits": Tokens(words, joint.mask),
            "contrastive_logits": contrastive,
            "pooled": loaded.apply(params, Model.pool, fused),
            "loss": losses["loss_mlm"] + losses["loss_contrastive"],
        }
    )


def _answer_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    fused, outputs = forward(loaded, params)
    logits = loaded.apply(params, Model.answer_logits, fused)
    return outputs | _classified(loaded, params, fused, logits)


def _retrieval_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    fused, outputs = forward(loaded, params)
    logits = loaded.apply(params, Model.match_logits, fused)
    return outputs | _classified(loaded, params, fused, logits)


def _nlvr2_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    fused, outputs = forward(loaded, params)
    pooled = loaded.apply(params, Model.pool, fused)
    pairs = pooled[0::2], pooled[1::2]
    logits = loaded.apply(params, lambda model, *pair: model.head("nlvr2")(*pair), *pairs)
    return outputs | _classified(loaded, params, fused, logits)


def _classified(loaded: Loaded, params: Any, fused: Fused, logits: Array) -> dict[str, Any]:
    pooled = loaded.apply(params, Model.pool, fused)
    return {"pooled": pooled, "logits": logits, "loss": _class_loss(loaded.bundle, logits)}


def _class_loss(bundle: Bundle, logits: Array) -> Array:
    """The loss of a classifier, as the published `loss_type` and `num_labels` say."""
    kind, labels = bundle.config.get("loss_type"), bundle.input("labels")
    if logits.shape[-1] == 1 and kind != "bce":
        return jnp.square(logits.reshape(-1) - labels.reshape(-1)).mean()
    if kind == "bce":
        return answer_loss(logits, jnp.asarray(labels.reshape(logits.shape)), "bce")
    if kind == "kl":
        return answer_loss(logits, jnp.asarray(labels), "kl_unnormalised")
    return cross_entropy(logits, bundle.ids("labels").reshape(-1)).mean()


def _caption_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    bundle = loaded.bundle
    if bundle.config.get("freeze_embedding"):
        params = _with_frozen_words(params)
    fused, outputs = forward(loaded, params)
    logits = loaded.apply(params, Model.word_logits, fused.text.states)
    masked = logits[np.nonzero(bundle.input("masked_pos") == 1)]
    ids = bundle.input("masked_ids")
    losses = smoothed_losses(
        masked, jnp.asarray(ids[ids != 0], jnp.int32), bundle.config.get("label_smoothing", 0)
    )
    loss = mean_of_least(losses, jnp.ones(losses.shape, bool), _dropped(bundle))
    return outputs | {
        "logits": Tokens(logits, fused.text.mask),
        "logits_masked": masked,
        "loss_masked": loss,
        "loss": loss,
    }


def _dropped(bundle: Bundle) -> float:
    """The share of worst words left out in the first step, which is what a bundle holds."""
    later = bundle.config.get("drop_worst_after", 0) > 0
    return 0.0 if later else bundle.config.get("drop_worst_ratio", 0)


def _with_frozen_words(params: Any) -> Any:
    """Returns the parameters with a word table that no gradient reaches."""
    frozen = jax.tree.map(jax.lax.stop_gradient, params["text"]["word"])
    return params | {"text": params["text"] | {"word": frozen}}
