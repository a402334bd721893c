"""Every output of the OSCAR and OSCAR+ bundles."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from vlp_jax.data.batch import IGNORE
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.captioning import mean_of_least, smoothed_losses
from vlp_jax.losses.cross_entropy import cross_entropy
from vlp_jax.model import CAPTION
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.tasks import matching
from vlp_jax.tasks.masked_text import MaskedTextTask
from vlp_jax.tasks.pairs import TagsTask
from vlp_jax.tasks.texts import MASKED
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, TracedViews, consecutive, run, task_loss
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.zoo.oscar import BOX_NUMBERS

Outputs = dict[str, Any]

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
def pretrain(bundle: Bundle) -> Outputs:
    """Encoder, word logits at every position, contrastive logits and both losses."""
    return run(bundle, _pretrain_outputs)


@_for_families("vqa", "gqa")
def answers(bundle: Bundle) -> Outputs:
    """Encoder and the logits of a classifier over answers."""
    return run(bundle, _answer_outputs)


@_for_families("retrieval")
def retrieval(bundle: Bundle) -> Outputs:
    """Encoder and matching logits."""
    return run(bundle, _retrieval_outputs)


@_for_families("nlvr2")
def nlvr2(bundle: Bundle) -> Outputs:
    """Encoder on both images of each pair, and the logits of the pair."""
    return run(bundle, _nlvr2_outputs)


@_for_families("caption")
def caption(bundle: Bundle) -> Outputs:
    """Encoder under the query-key mask, word logits and the loss at masked positions."""
    return run(bundle, _caption_outputs)


def _views(loaded: Loaded, params: Any) -> TracedViews:
    """Returns the views of all rows; the one text is the caption and the question, too."""
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
        CAPTION.segments: segments,
        **{fields.ids: ids for fields in (CAPTION, MASKED)},
        CAPTION.mask: valid[:, :length],
    }
    views = loaded.views(params, batch)
    fuse = partial(_fuse, joint_mask=joint_mask)
    fused = views.once(f"fused {CAPTION.ids}", fuse, views.image(), views.text())
    views.once(f"fused {MASKED.ids}", lambda model, same, *, deterministic: same, fused)
    return views


def _fuse(
    model: Model, image: Tokens, text: Tokens, *, joint_mask: Array | None, deterministic: bool
) -> Fused:
    return model.fuse(image, text, joint_mask=joint_mask, deterministic=deterministic)


def _streams(loaded: Loaded, views: TracedViews) -> Outputs:
    """Returns the outputs of every bundle."""
    fused, sown = views.fused(), views.sown
    joint = fused.text.concatenate(fused.image)
    layers = range(loaded.config.fusion_args["layers"])
    return {
        "text_embedding": Tokens(sown["text/embedding"], fused.text.mask),
        "image_embedding": Tokens(sown["vision/embedding"], fused.image.mask),
        **{f"layer_{i}": Tokens(sown[f"fusion/layer_{i}_output"], joint.mask) for i in layers},
        "sequence_output": joint,
    }


def _masks(bundle: Bundle) -> tuple[Bool[Array, "b t"], Bool[Array, "b t t"] | None]:
    """Returns which joint positions are real, and the query-key mask if the bundle has one."""
    mask = bundle.mask("attention_mask")
    if "valid" in bundle.inputs:
        return bundle.mask("valid"), mask
    return mask.reshape(-1, mask.shape[-1]), None


def _pretrain_outputs(loaded: Loaded, params: Any) -> Outputs:
    bundle, views = loaded.bundle, _views(loaded, params)
    outputs = _streams(loaded, views)
    joint = outputs["sequence_output"]
    every = Fused(text=joint, image=views.fused().image)
    labels = bundle.ids("masked_lm_labels")
    views.batch |= {
        "mlm_labels": jnp.where(labels < 0, IGNORE, labels),
        # The bundles' label is the head's class, of which 0 is a match.
        "pair_labels": bundle.ids("next_sentence_label"),
    }
    losses = {
        "loss_mlm": task_loss(MaskedTextTask(), views),
        "loss_contrastive": task_loss(TagsTask(text="clean"), views),
    }
    return (
        outputs
        | losses
        | {
            "mlm_logits": Tokens(views.head_of("mlm", every, "joint words"), joint.mask),
            "contrastive_logits": views.head(matching.HEAD),
            "pooled": views.pooled(),
            "loss": sum(losses.values()),
        }
    )


def _answer_outputs(loaded: Loaded, params: Any) -> Outputs:
    views = _views(loaded, params)
    return _classified(loaded, views, views.head("vqa"))


def _retrieval_outputs(loaded: Loaded, params: Any) -> Outputs:
    views = _views(loaded, params)
    return _classified(loaded, views, views.head(matching.HEAD))


def _nlvr2_outputs(loaded: Loaded, params: Any) -> Outputs:
    views = _views(loaded, params)
    pairs = Reading((), (), consecutive(views.fused()))
    return _classified(loaded, views, loaded.apply(params, Model.read, "nlvr2", pairs))


def _classified(loaded: Loaded, views: TracedViews, logits: Array) -> Outputs:
    outputs = {"pooled": views.pooled(), "logits": logits}
    return _streams(loaded, views) | outputs | {"loss": _class_loss(loaded.bundle, logits)}


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


def _caption_outputs(loaded: Loaded, params: Any) -> Outputs:
    bundle = loaded.bundle
    if bundle.config.get("freeze_embedding"):
        params = _with_frozen_words(params)
    views = _views(loaded, params)
    logits = views.head("mlm")
    masked = logits[np.nonzero(bundle.input("masked_pos") == 1)]
    ids = bundle.input("masked_ids")
    losses = smoothed_losses(
        masked, jnp.asarray(ids[ids != 0], jnp.int32), bundle.config.get("label_smoothing", 0)
    )
    # A bundle holds the first step.
    begun = bundle.config.get("drop_worst_after", 0) < 1
    drop = bundle.config.get("drop_worst_ratio", 0)
    loss = mean_of_least(losses, jnp.ones(losses.shape, bool), drop, begun)
    return _streams(loaded, views) | {
        "logits": Tokens(logits, views.text().mask),
        "logits_masked": masked,
        "loss_masked": loss,
        "loss": loss,
    }


def _with_frozen_words(params: Any) -> Any:
    """Returns the parameters with a word table that no gradient reaches."""
    frozen = jax.tree.map(jax.lax.stop_gradient, params["text"]["word"])
    return params | {"text": params["text"] | {"word": frozen}}
