"""Every output of the ALBEF bundles for pre-training, retrieval and another resolution."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.cross_entropy import cross_entropy, masked_mean
from vlp_jax.losses.momentum import Queue, update_teacher
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.model.views import Views
from vlp_jax.objectives.contrastive import ContrastiveObjective
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, channels_last, gradients, load, quick_jit
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.conversion import to_params
from vlp_jax.weights.interpolation import resize_position_grid
from vlp_jax.weights.zoo.albef import momentum_table

# The score of a pair that the contrastive similarity did not put among the best k.
NOT_RANKED = -100.0


@RUNNERS.register("albef/pretrain")
def pretrain(bundle: Bundle) -> dict[str, Any]:
    """Both encoders, the fusion, all heads, the momentum model and the similarities to queues."""
    loaded = load(bundle)
    outputs = quick_jit(lambda params: _pretrain_outputs(loaded, params))(loaded.params)
    if _has_teacher(bundle):
        teacher = teacher_params(loaded)
        outputs |= quick_jit(lambda params: _teacher_outputs(loaded, params))(teacher)
        outputs |= _similarities(bundle, outputs)
    return outputs | gradients(loaded, lambda params: _pretrain_loss(loaded, params))


@RUNNERS.register("albef/interp")
def another_resolution(bundle: Bundle) -> dict[str, Any]:
    """A pre-training checkpoint loaded at another image size: positions, then all parts."""
    loaded = load(bundle, task="pretrain")
    outputs = quick_jit(lambda params: _match_outputs(loaded, params))(loaded.params)
    table = bundle.tensor("visual_encoder.pos_embed")[0].astype(np.float32)
    stored = round((len(table) - 1) ** 0.5)
    prefix = "pos_embed_grid"
    grids = [int(name.removeprefix(prefix)) for name in bundle.expected if name.startswith(prefix)]
    if _has_teacher(bundle):
        outputs["pos_embed_m"] = teacher_params(loaded)["vision"]["positions"]
    return outputs | {
        "pos_embed": loaded.params["vision"]["positions"],
        **{f"{prefix}{g}": resize_position_grid(table, stored, g)[None] for g in grids},
    }


@RUNNERS.register("albef/retrieval")
def retrieval(bundle: Bundle) -> dict[str, Any]:
    """Similarities, their k best re-ranked by matching, and the training loss."""
    loaded = load(bundle)
    outputs = quick_jit(lambda params: _retrieval_outputs(loaded, params))(loaded.params)
    return outputs | gradients(loaded, lambda params: _retrieval_loss(loaded, params))


def _has_teacher(bundle: Bundle) -> bool:
    """Says whether the checkpoint still has the momentum copies, which released files lack."""
    return any("_m." in name for name in bundle.state)


def teacher_params(loaded: Loaded) -> Any:
    """Returns the parameters with the momentum copies of the checkpoint in place."""
    state = loaded.published.adapt(loaded.bundle.state, loaded.config)
    return _overlay(loaded.params, to_params(state, momentum_table(loaded.table)))


def moved_teacher(loaded: Loaded, params: Any) -> Any:
    """Returns the teacher as a training step uses it: first moved towards the parameters."""
    momentum = loaded.bundle.field("momentum")
    return jax.lax.stop_gradient(update_teacher(teacher_params(loaded), params, momentum))


def distillation(bundle: Bundle) -> float:
    """Returns α, the weight of the teacher in the training loss; zero where it is off."""
    return bundle.number("alpha") if bundle.config.get("distill", True) else 0.0


def _overlay(below: Any, above: Any) -> Any:
    if not isinstance(below, dict):
        return above
    return {k: _overlay(v, above[k]) if k in above else v for k, v in below.items()}


def encode(model: Model, batch: dict, ids: Array, mask: Array) -> tuple[Tokens, Tokens, Fused]:
    """Returns image tokens, text tokens and their fusion."""
    image, text = model.encode_image(batch), model.encode_text(ids, mask)
    return image, text, model.fuse(text, image)


def forward(loaded: Loaded, params: Any, ids: str = "input_ids") -> tuple[tuple, dict]:
    """Runs `encode` on the bundle's inputs; returns its result and the intermediates."""
    bundle = loaded.bundle
    batch = {"image": channels_last(bundle.input("image"))}
    return loaded.trace(params, encode, batch, bundle.ids(ids), bundle.mask("attention_mask"))


def _pretrain_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    (image, text, _), sown = forward(loaded, params)
    outputs = _match_outputs(loaded, params)
    temperature = loaded.apply(params, Model.temperature)
    return {
        **outputs,
        **layer_outputs(loaded, sown, text.mask),
        "itm_logits_all_pairs": all_pairs(loaded, params, image, text),
        "mlm_logits": _word_logits(loaded, params, image),
        "sim_i2t_batch": outputs["image_feat"] @ outputs["text_feat"].T / temperature,
    }


def _teacher_outputs(loaded: Loaded, teacher: Any) -> dict[str, Any]:
    (image, text, _), _ = forward(loaded, teacher)
    words = _word_logits(loaded, teacher, image)
    return {"mlm_logits_m": words, **_encoder_outputs(loaded, teacher, image, text, "_m")}


def _match_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    """Encoders, fusion, and the matching of the given pairs."""
    (image, text, fused), _ = forward(loaded, params)
    return {
        "text_valid": text.mask,
        "fusion_output": fused.text,
        "itm_logits": loaded.apply(params, Model.match_logits, fused),
        **_encoder_outputs(loaded, params, image, text),
    }


def _retrieval_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    bundle, outputs = loaded.bundle, _match_outputs(loaded, params)
    image = Tokens(outputs["image_embeds"], jnp.ones(outputs["image_embeds"].shape[:2], bool))
    index = loaded.published.conventions.match_index
    scores = all_pairs(loaded, params, image, outputs["text_embeds"])[..., index]
    similarity = outputs["image_feat"] @ outputs["text_feat"].T
    k = int(bundle.number("k_test"))
    return outputs | {
        "similarity": similarity,
        "score_i2t": _rerank(similarity, scores, k),
        "score_t2i": _rerank(similarity.T, scores.T, k),
    }


def _rerank(similarity: Array, scores: Array, k: int) -> Array:
    """Returns the scores of each row's k most similar columns; the others are not ranked."""
    columns = similarity.shape[1]
    _, best = jax.lax.top_k(similarity, min(k, columns))
    ranked = jax.nn.one_hot(best, columns, dtype=bool).any(1)
    return jnp.where(ranked, scores, NOT_RANKED)


def layer_outputs(loaded: Loaded, sown: dict[str, Array], mask: Array) -> dict[str, Any]:
    """Every layer of the ViT, and of the one published BERT that we hold in two parts."""
    config = loaded.config
    fusion = (f"fusion/layer_{i}_output" for i in itertools.count())
    layers = [sown[f"text/layer_{i}_output"] for i in range(config.text_args["layers"])]
    layers += [sown[name] for name in itertools.takewhile(sown.__contains__, fusion)]
    blocks = range(config.vision_args["layers"])
    return {
        "text_embedding_output": Tokens(sown["text/embedding"], mask),
        **{f"text_layer_{i}": Tokens(layer, mask) for i, layer in enumerate(layers)},
        **{f"vision_block_{i}": sown[f"vision/layer_{i}_output"] for i in blocks},
    }


def _encoder_outputs(
    loaded: Loaded, params: Any, image: Tokens, text: Tokens, suffix: str = ""
) -> dict[str, Any]:
    """Tokens of both encoders and their contrastive vectors."""
    return {
        f"image_embeds{suffix}": image.states,
        f"text_embeds{suffix}": text,
        f"image_feat{suffix}": loaded.apply(params, Model.image_vector, image),
        f"text_feat{suffix}": loaded.apply(params, Model.text_vector, text),
    }


def all_pairs(loaded: Loaded, params: Any, image: Tokens, text: Tokens) -> Array:
    """Returns the matching logits [I, T, 2] of every image with every text."""
    images, texts = len(image.mask), len(text.mask)
    pick = lambda tokens, rows: jax.tree.map(lambda x: x[rows], tokens)
    fused = loaded.apply(
        params,
        Model.fuse,
        pick(text, jnp.tile(jnp.arange(texts), images)),
        pick(image, jnp.repeat(jnp.arange(images), texts)),
    )
    return loaded.apply(params, Model.match_logits, fused).reshape(images, texts, 2)


def _word_logits(loaded: Loaded, params: Any, image: Tokens) -> Tokens:
    """Word logits for the text with replaced words, paired with its image."""
    ids, mask = loaded.bundle.ids("mlm_input_ids"), loaded.bundle.mask("attention_mask")
    text = loaded.apply(params, Model.encode_text, ids, mask)
    fused = loaded.apply(params, Model.fuse, text, image)
    return Tokens(loaded.apply(params, Model.word_logits, fused.text.states), mask)


def _similarities(bundle: Bundle, outputs: dict[str, Any]) -> dict[str, Any]:
    """Similarities to the momentum features of the batch, followed by the queue."""
    temperature = bundle.tensor("temp").astype(np.float32)
    images = jnp.concatenate([outputs["image_feat_m"].T, bundle.tensor("image_queue")], axis=1)
    texts = jnp.concatenate([outputs["text_feat_m"].T, bundle.tensor("text_queue")], axis=1)
    return {
        "sim_i2t": outputs["image_feat"] @ texts / temperature,
        "sim_t2i": outputs["text_feat"] @ images / temperature,
        "sim_i2t_m": outputs["image_feat_m"] @ texts / temperature,
        "sim_t2i_m": outputs["text_feat_m"] @ images / temperature,
    }


def _pretrain_loss(loaded: Loaded, params: Any) -> Array:
    """Matching + masked words + in-batch contrast, without teacher and queue."""
    bundle = loaded.bundle
    (image, text, fused), _ = forward(loaded, params)
    matching = loaded.apply(params, Model.match_logits, fused)
    labels = bundle.ids("mlm_labels")
    words = cross_entropy(_word_logits(loaded, params, image).states, jnp.maximum(labels, 0))
    vectors = _encoder_outputs(loaded, params, image, text)
    similarity = vectors["image_feat"] @ vectors["text_feat"].T
    similarity = similarity / loaded.apply(params, Model.temperature)
    own = jnp.arange(len(similarity))
    contrast = cross_entropy(similarity, own).mean() + cross_entropy(similarity.T, own).mean()
    return (
        cross_entropy(matching, bundle.ids("itm_targets")).mean()
        + masked_mean(words, labels >= 0)
        + contrast / 2
    )


def _retrieval_loss(loaded: Loaded, params: Any) -> Array:
    """Contrast with teacher and queue, and matching with the given negatives."""
    bundle = loaded.bundle
    batch = {
        "image": channels_last(bundle.input("image")),
        "text_ids": bundle.ids("input_ids"),
        "text_mask": bundle.mask("attention_mask"),
        "image_id": bundle.ids("idx"),
    }
    views = Views(loaded.model, params, batch)
    teacher_views = Views(loaded.model, moved_teacher(loaded, params), batch)
    contrast = ContrastiveObjective(alpha=distillation(bundle))
    return contrast(views, teacher_views, _queue(bundle), 1.0).loss + _matching_loss(bundle, views)


def _queue(bundle: Bundle) -> Queue:
    """The checkpoint's queue, whose columns are our rows."""
    return Queue(
        jnp.asarray(bundle.tensor("image_queue")).T,
        jnp.asarray(bundle.tensor("text_queue")).T,
        jnp.asarray(bundle.tensor("idx_queue"), jnp.int32)[0],
        jnp.asarray(bundle.tensor("queue_ptr"), jnp.int32)[0],
    )


def _matching_loss(bundle: Bundle, views: Views) -> Array:
    own = jnp.arange(views.size)
    texts = jnp.concatenate([own, bundle.ids("negative_text")])
    images = jnp.concatenate([bundle.ids("negative_image"), own])
    match = views.run(Model.match_logits, views.fused(), name="match")
    mismatch = views.run(Model.match_logits, views.fused_pairs(texts, images), name="mismatch")
    labels = (jnp.arange(3 * views.size) < views.size).astype(jnp.int32)
    return cross_entropy(jnp.concatenate([match, mismatch]), labels).mean()
