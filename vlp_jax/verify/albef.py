"""Every output of the ALBEF bundles for pre-training, retrieval and another resolution."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.momentum import Queue, update_teacher
from vlp_jax.model import CAPTION
from vlp_jax.tasks import contrast, matching
from vlp_jax.tasks.contrast import ContrastiveTask
from vlp_jax.tasks.masked_text import MaskedTextTask
from vlp_jax.tasks.pairs import PairTask
from vlp_jax.tasks.query_scores import best_candidates
from vlp_jax.tasks.texts import MASKED
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, TracedViews, channels_last, run, task_loss
from vlp_jax.verify.runner import RUNNERS
from vlp_jax.weights.conversion import to_params
from vlp_jax.weights.interpolation import resize_position_grid
from vlp_jax.weights.zoo.albef import momentum_table

Outputs = dict[str, Any]

# The score of a pair that the contrastive similarity did not put among the best k.
NOT_RANKED = -100.0


@RUNNERS.register("albef/pretrain")
def pretrain(bundle: Bundle) -> Outputs:
    """Both encoders, the fusion, all heads, the momentum model and the similarities to queues."""
    return run(bundle, _pretrain_outputs)


@RUNNERS.register("albef/interp")
def another_resolution(bundle: Bundle) -> Outputs:
    """A pre-training checkpoint loaded at another image size: positions, then all parts."""
    return run(bundle, _interpolated_outputs, task="pretrain")


@RUNNERS.register("albef/retrieval")
def retrieval(bundle: Bundle) -> Outputs:
    """Similarities, their k best re-ranked by matching, and the training loss."""
    return run(bundle, _retrieval_outputs)


def views_of(loaded: Loaded, params: Any, ids: str = "input_ids") -> TracedViews:
    """Returns the views of a bundle's pictures and texts, and of what else it has for training."""
    bundle = loaded.bundle
    batch = {
        "image": channels_last(bundle.input("image")),
        CAPTION.ids: bundle.ids(ids),
        CAPTION.mask: bundle.mask("attention_mask"),
    }
    match_index = loaded.published.conventions.match_index
    optional = {
        MASKED.ids: ("mlm_input_ids", bundle.ids),
        "mlm_labels": ("mlm_labels", bundle.ids),
        "image_id": ("idx", bundle.ids),
        "pair_labels": ("itm_targets", lambda name: 1 - (bundle.ids(name) == match_index)),
    }
    given = {ours: read(name) for ours, (name, read) in optional.items() if name in bundle.inputs}
    rows = jnp.arange(len(batch["image"]), dtype=jnp.int32)
    return loaded.views(params, {"image_id": rows} | batch | given)


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


def _pretrain_outputs(loaded: Loaded, params: Any) -> Outputs:
    bundle, views = loaded.bundle, views_of(loaded, params)
    outputs = _pairs(views)
    similarity = outputs["image_feat"] @ outputs["text_feat"].T
    outputs |= {
        **layer_outputs(loaded, views),
        "itm_logits_all_pairs": _all_pairs(views),
        "mlm_logits": Tokens(views.head("mlm", MASKED), views.text().mask),
        "sim_i2t_batch": similarity / contrast.temperature(views),
    }
    if _has_teacher(bundle):
        outputs |= _teacher_outputs(loaded, teacher_params(loaded))
        outputs |= _similarities(bundle, outputs)
    # Matching of the given pairs, masked words, and contrast without teacher and queue.
    tasks = PairTask(text="clean"), MaskedTextTask(), ContrastiveTask()
    return outputs | {"loss": sum(task_loss(task, views) for task in tasks)}


def _teacher_outputs(loaded: Loaded, teacher: Any) -> Outputs:
    views = views_of(loaded, teacher)
    words = Tokens(views.head("mlm", MASKED), views.text().mask)
    return {"mlm_logits_m": words, **_encoders(views, "_m")}


def _interpolated_outputs(loaded: Loaded, params: Any) -> Outputs:
    bundle = loaded.bundle
    table = bundle.tensor("visual_encoder.pos_embed")[0].astype(np.float32)
    stored = round((len(table) - 1) ** 0.5)
    prefix = "pos_embed_grid"
    grids = [int(name.removeprefix(prefix)) for name in bundle.expected if name.startswith(prefix)]
    outputs = _pairs(views_of(loaded, params)) | {"pos_embed": params["vision"]["positions"]}
    if _has_teacher(bundle):
        outputs["pos_embed_m"] = teacher_params(loaded)["vision"]["positions"]
    return outputs | {f"{prefix}{g}": resize_position_grid(table, stored, g)[None] for g in grids}


def _pairs(views: TracedViews) -> Outputs:
    """Encoders, fusion, and the matching of the given pairs."""
    return {
        "text_valid": views.text().mask,
        "fusion_output": views.fused().text,
        "itm_logits": views.head(matching.HEAD),
        **_encoders(views),
    }


def _encoders(views: TracedViews, suffix: str = "") -> Outputs:
    """Tokens of both encoders and their contrastive vectors."""
    image, text = contrast.vectors(views)
    return {
        f"image_embeds{suffix}": views.image().states,
        f"text_embeds{suffix}": views.text(),
        f"image_feat{suffix}": image,
        f"text_feat{suffix}": text,
    }


def layer_outputs(loaded: Loaded, views: TracedViews) -> Outputs:
    """Every layer of the ViT, and of the one published BERT that we hold in two parts."""
    views.fused()
    return layers(loaded, views.sown, views.text().mask)


def layers(loaded: Loaded, sown: dict[str, Array], mask: Array) -> Outputs:
    """The same from what the parts have sown."""
    config = loaded.config
    found = [sown[f"text/layer_{i}_output"] for i in range(config.text_args["layers"])]
    for i in range(config.fusion_args["layers"]):
        # One layer, or the two that read two images.
        names = (f"fusion/layer_{i}{end}" for end in ("_output", "/first/output", "/second/output"))
        found += [sown[name] for name in names if name in sown]
    blocks = range(config.vision_args["layers"])
    return {
        "text_embedding_output": Tokens(sown["text/embedding"], mask),
        **{f"text_layer_{i}": Tokens(layer, mask) for i, layer in enumerate(found)},
        **{f"vision_block_{i}": sown[f"vision/layer_{i}_output"] for i in blocks},
    }


def _all_pairs(views: TracedViews) -> Array:
    """Returns the matching logits [I, T, 2] of every image with every text."""
    size = views.size
    fused = views.fused_pairs(*jnp.divmod(jnp.arange(size * size), size))
    return views.head_of(matching.HEAD, fused, "pairs").reshape(size, size, 2)


def _similarities(bundle: Bundle, outputs: Outputs) -> Outputs:
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


def _retrieval_outputs(loaded: Loaded, params: Any) -> Outputs:
    bundle, views = loaded.bundle, views_of(loaded, params)
    outputs = _pairs(views)
    similarity = outputs["image_feat"] @ outputs["text_feat"].T
    scores = _all_pairs(views)[..., loaded.published.conventions.match_index]
    k = int(bundle.number("k_test"))
    return outputs | {
        "similarity": similarity,
        "score_i2t": _ranked(similarity, scores, k),
        "score_t2i": _ranked(similarity.T, scores.T, k),
        "loss": _retrieval_loss(loaded, params, views),
    }


def _ranked(similarity: Array, scores: Array, k: int) -> Array:
    """Returns the scores of each row's k most similar columns; the others are not ranked."""
    best = best_candidates(similarity, k)
    kept = jnp.zeros(similarity.shape, bool).at[jnp.arange(len(best))[:, None], best].set(True)
    return jnp.where(kept, scores, NOT_RANKED)


def _retrieval_loss(loaded: Loaded, params: Any, views: TracedViews) -> Array:
    """Contrast with teacher and queue, and matching with the given negatives."""
    bundle = loaded.bundle
    teacher = views_of(loaded, moved_teacher(loaded, params))
    contrastive = ContrastiveTask(alpha=distillation(bundle))
    loss = task_loss(contrastive, views, teacher, _queue(bundle))
    given = bundle.ids("negative_image"), bundle.ids("negative_text")
    return loss + matching.loss_of_negatives(views, *given).loss


def _queue(bundle: Bundle) -> Queue:
    """The checkpoint's queue, whose columns are our rows."""
    return Queue(
        jnp.asarray(bundle.tensor("image_queue")).T,
        jnp.asarray(bundle.tensor("text_queue")).T,
        jnp.asarray(bundle.tensor("idx_queue"), jnp.int32)[0],
        jnp.asarray(bundle.tensor("queue_ptr"), jnp.int32)[0],
    )
