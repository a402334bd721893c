"""Every output of the VisualBERT bundles, computed with the port."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool

from vlp_jax.heads.answer_token import answer_position
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.answers import answer_loss
from vlp_jax.losses.cross_entropy import cross_entropy, labelled_mean
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, gradients, load, quick_jit
from vlp_jax.verify.runner import RUNNERS

# Batch fields that a bundle may give: its name for them, and their axes after those of rows.
REGION_INPUTS = {
    "region_types": ("visual_embeddings_type", 1),
    "region_alignment": ("image_text_alignment", 2),
}


@dataclass(frozen=True)
class Forward:
    """One pass: both streams, the pooled vector, the mask of the joint sequence, intermediates."""

    fused: Fused
    pooled: Array
    valid: Bool[Array, "b t"]
    sown: dict[str, Array]

    @property
    def sequence(self) -> Tokens:
        """The joint sequence after the last layer."""
        return self.fused.text.concatenate(self.fused.image)


def forward(loaded: Loaded, params: Any) -> Forward:
    """Runs the encoder; several choices for one image become so many rows."""
    bundle = loaded.bundle
    ids, mask = (_rows(x, 1) for x in (bundle.ids("input_ids"), bundle.mask("input_mask")))
    segments = _rows(bundle.ids("token_type_ids"), 1) if "token_type_ids" in bundle.inputs else None
    words = ids, mask, segments
    (fused, pooled), sown = loaded.trace(params, fuse_and_pool, _regions(bundle), *words)
    valid = jnp.concatenate([fused.text.mask, fused.image.mask], axis=1)
    return Forward(fused, pooled, valid, sown)


def fuse_and_pool(
    model: Model, batch: dict, ids: Array, mask: Array, segments: Array | None
) -> tuple[Fused, Array]:
    """Returns both streams after the fusion, and the pooled vector."""
    fused = model.fuse(model.encode_text(ids, mask, segments), model.encode_image(batch))
    return fused, model.pool(fused)


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


def _encoder_outputs(loaded: Loaded, run: Forward) -> dict[str, Any]:
    """The joint embedding, every layer, and the pooler on [CLS]."""
    joint = lambda states: Tokens(states, run.valid)
    layers = range(loaded.config.fusion_args["layers"])
    return {
        "embedding_output": joint(run.sown["fusion/embedding"]),
        **{f"layer_{i}": joint(run.sown[f"fusion/layer_{i}_output"]) for i in layers},
        "sequence_output": run.sequence,
        "pooled": run.sown.get("pooler/first_token_vector", run.pooled),
        "valid": run.valid,
    }


def _verify(bundle: Bundle, outputs: Any, loss: Any) -> dict[str, Any]:
    """Returns what `outputs` gives for one pass, and the gradients of `loss` of another."""
    loaded = load(bundle)

    def run(params: Any) -> dict[str, Any]:
        passed = forward(loaded, params)
        return _encoder_outputs(loaded, passed) | outputs(loaded, params, passed)

    total = lambda params: loss(bundle, outputs(loaded, params, forward(loaded, params)))
    return quick_jit(run)(loaded.params) | gradients(loaded, total)


@RUNNERS.register("visualbert/pretrain")
def pretrain(bundle: Bundle) -> dict[str, Any]:
    """Masked words at every joint position, and whether both sentences belong to the image."""
    return _verify(bundle, _pretrain_outputs, lambda _, out: out["loss_mlm"] + out["loss_match"])


def _pretrain_outputs(loaded: Loaded, params: Any, run: Forward) -> dict[str, Any]:
    bundle, words = loaded.bundle, run.sequence
    labels, match = bundle.ids("masked_lm_labels"), bundle.ids("is_random_next")
    logits = loaded.apply(params, Model.word_logits, words.states)
    matching = loaded.apply(params, Model.match_logits, run.fused)
    return {
        "mlm_logits": Tokens(logits, run.valid),
        "seq_relationship_logits": matching,
        "loss_mlm": labelled_mean(logits[:, : labels.shape[1]], labels),
        "loss_match": labelled_mean(matching, match),
    }


@RUNNERS.register("visualbert/vqa")
def vqa(bundle: Bundle) -> dict[str, Any]:
    """Answers, read at the last token but one."""
    return _verify(bundle, _vqa_outputs, _divergence)


def _vqa_outputs(loaded: Loaded, params: Any, run: Forward) -> dict[str, Any]:
    logits = loaded.apply(params, Model.answer_logits, run.fused)
    return {"logits": logits, "gather_index": answer_position(run.fused.text.mask)}


def _divergence(bundle: Bundle, outputs: dict[str, Any]) -> Array:
    """KL divergence from the softmax to the scores as they are, which need not sum to one."""
    scores = jnp.asarray(bundle.input("label"), jnp.float32)
    return answer_loss(outputs["logits"], scores, "kl_unnormalised")


@RUNNERS.register("visualbert/nlvr2")
def nlvr2(bundle: Bundle) -> dict[str, Any]:
    """The regions of both images in one list, told apart by their type."""
    return _verify(bundle, lambda *run: _class_outputs("nlvr2", *run), _class_loss)


@RUNNERS.register("visualbert/vcr")
def vcr(bundle: Bundle) -> dict[str, Any]:
    """One number for each choice."""
    return _verify(bundle, lambda *run: _class_outputs("vcr", *run), _class_loss)


def _class_outputs(head: str, loaded: Loaded, params: Any, run: Forward) -> dict[str, Any]:
    logits = loaded.apply(params, Model.class_logits, head, run.fused)
    return {"logits": logits.reshape(len(loaded.bundle.input("label")), -1)}


def _class_loss(bundle: Bundle, outputs: dict[str, Any]) -> Array:
    return cross_entropy(outputs["logits"], bundle.ids("label")).mean()
