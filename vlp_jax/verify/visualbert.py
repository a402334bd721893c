"""Every output of the VisualBERT bundles, computed with the port."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.data.batch import IGNORE
from vlp_jax.heads.answer_token import answer_position
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import cross_entropy, labelled_mean
from vlp_jax.model import CAPTION
from vlp_jax.tasks import matching
from vlp_jax.tasks.masked_text import MaskedTextTask
from vlp_jax.tasks.texts import MASKED
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, TracedViews, run, task_loss
from vlp_jax.verify.runner import RUNNERS

Outputs = dict[str, Any]

# Batch fields that a bundle may give: its name for them, and their axes after those of rows.
REGION_INPUTS = {
    "region_types": ("visual_embeddings_type", 1),
    "region_alignment": ("image_text_alignment", 2),
}


def _rows(array: Array, rank: int) -> Array:
    """Joins all axes before the last `rank` into one."""
    return array.reshape(-1, *array.shape[-rank:])


def _regions(bundle: Bundle) -> dict[str, Array]:
    given = {ours: x for ours, x in REGION_INPUTS.items() if x[0] in bundle.inputs}
    return {
        "region_features": _rows(jnp.asarray(bundle.input("visual_embeddings")), 2),
        "region_mask": _rows(bundle.mask("image_mask"), 1),
        **{ours: _rows(bundle.ids(name), rank) for ours, (name, rank) in given.items()},
    }


def _views(loaded: Loaded, params: Any) -> TracedViews:
    """Returns the views; several choices for one image become so many rows.

    The one text is the caption, the masked caption and the question.
    """
    bundle = loaded.bundle
    ids, mask = (_rows(x, 1) for x in (bundle.ids("input_ids"), bundle.mask("input_mask")))
    texts = (CAPTION, MASKED)
    batch = {**_regions(bundle), **{fields.ids: ids for fields in texts}, CAPTION.mask: mask}
    if "token_type_ids" in bundle.inputs:
        batch[CAPTION.segments] = _rows(bundle.ids("token_type_ids"), 1)
    return loaded.views(params, batch)


def _streams(loaded: Loaded, views: TracedViews) -> Outputs:
    """The joint embedding, every layer, and the pooler on [CLS]."""
    sequence, pooled, sown = _sequence(views), views.pooled(), views.sown
    joint = lambda states: Tokens(states, sequence.mask)
    layers = range(loaded.config.fusion_args["layers"])
    return {
        "embedding_output": joint(sown["fusion/embedding"]),
        **{f"layer_{i}": joint(sown[f"fusion/layer_{i}_output"]) for i in layers},
        "sequence_output": sequence,
        "pooled": sown.get("pooler/first_token_vector", pooled),
        "valid": sequence.mask,
    }


def _sequence(views: TracedViews) -> Tokens:
    """The joint sequence after the last layer."""
    return views.fused().text.concatenate(views.fused().image)


@RUNNERS.register("visualbert/pretrain")
def pretrain(bundle: Bundle) -> Outputs:
    """Masked words at every joint position, and whether both sentences belong to the image."""
    return run(bundle, _pretrain_outputs)


def _pretrain_outputs(loaded: Loaded, params: Any) -> Outputs:
    bundle, views = loaded.bundle, _views(loaded, params)
    sequence, match = _sequence(views), bundle.ids("is_random_next")
    every = Fused(text=sequence, image=views.fused().image)
    labels = bundle.ids("masked_lm_labels")
    # A label says that the second sentence is another's; the head's class of that number, too.
    views.batch |= {"mlm_labels": jnp.where(labels < 0, IGNORE, labels)}
    matching_logits = views.head(matching.HEAD)
    losses = {
        "loss_mlm": task_loss(MaskedTextTask(), views),
        "loss_match": labelled_mean(matching_logits, match),
    }
    return (
        _streams(loaded, views)
        | losses
        | {
            "mlm_logits": Tokens(views.head_of("mlm", every, "joint words"), sequence.mask),
            "seq_relationship_logits": matching_logits,
            "loss": sum(losses.values()),
        }
    )


@RUNNERS.register("visualbert/vqa")
def vqa(bundle: Bundle) -> Outputs:
    """Answers, read at the last token but one.

    The loss is the divergence from the softmax to the scores, which need not sum to one.
    """

    def outputs(loaded: Loaded, params: Any) -> Outputs:
        views = _views(loaded, params)
        logits, scores = views.head("vqa"), jnp.asarray(bundle.input("label"), jnp.float32)
        return _streams(loaded, views) | {
            "logits": logits,
            "gather_index": answer_position(views.text().mask),
            "loss": answer_loss(logits, scores, "kl_unnormalised"),
        }

    return run(bundle, outputs)


@RUNNERS.register("visualbert/nlvr2")
def nlvr2(bundle: Bundle) -> Outputs:
    """The regions of both images in one list, told apart by their type."""
    return _classes(bundle, "nlvr2")


@RUNNERS.register("visualbert/vcr")
def vcr(bundle: Bundle) -> Outputs:
    """One number for each choice."""
    return _classes(bundle, "vcr")


def _classes(bundle: Bundle, head: str) -> Outputs:
    def outputs(loaded: Loaded, params: Any) -> Outputs:
        views, labels = _views(loaded, params), bundle.ids("label")
        logits = views.head(head).reshape(len(labels), -1)
        loss = cross_entropy(logits, labels).mean()
        return _streams(loaded, views) | {"logits": logits, "loss": loss}

    return run(bundle, outputs)
