"""The losses of ALBEF with explicit inputs: contrast with queues, distillation, answers."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from vlp_jax.heads.contrastive import l2_normalise
from vlp_jax.losses.answer_text import answer_text_losses, weighted_answer_loss
from vlp_jax.losses.contrastive import make_queues, make_sides, plain_loss, whole_blocks
from vlp_jax.losses.contrastive_forms import SoftmaxForm
from vlp_jax.losses.cross_entropy import distilled_cross_entropy, labelled_mean, masked_mean
from vlp_jax.losses.momentum import Queue, update_teacher
from vlp_jax.losses.sampling import negative_weights
from vlp_jax.losses.similarity_blocks import Scale
from vlp_jax.tasks.contrast import ContrastiveTask
from vlp_jax.verify.losses import LOSS_FUNCTIONS, Inputs

Outputs = dict[str, Array]


@LOSS_FUNCTIONS.register("albef_itc")
def contrast(inputs: Inputs) -> Outputs:
    """Pre-training: only the own text is right, and the temperature is clamped."""
    low, high = ContrastiveTask().temperature_range
    fixed = jax.lax.stop_gradient(jnp.asarray(inputs["temp"]))
    # Clamped in place before the step: the gradient is that of the clamped parameter.
    temperature = jnp.clip(fixed, low, high) + (inputs["temp"] - fixed)
    ids = jnp.arange(len(inputs["image"]), dtype=jnp.int32)
    queue = _queue(inputs, jnp.full(inputs["image_queue"].shape[1], -100, jnp.int32))
    outputs = _contrast(inputs, temperature, ids, queue, distil=True)
    return {"temp_after_clamp": temperature, **outputs}


@LOSS_FUNCTIONS.register("albef_retrieval_itc")
def retrieval_contrast(inputs: Inputs) -> Outputs:
    """Retrieval: all texts of an image are right, and the temperature is left as it is."""
    return _retrieval(inputs, distil=True)


@LOSS_FUNCTIONS.register("albef_retrieval_itc_no_distill")
def plain_retrieval_contrast(inputs: Inputs) -> Outputs:
    """Retrieval without the teacher's targets."""
    return _retrieval(inputs, distil=False)


def _retrieval(inputs: Inputs, distil: bool) -> Outputs:
    ids = inputs.ids("idx").reshape(-1)
    queue = _queue(inputs, inputs.ids("idx_queue")[0])
    outputs = _contrast(inputs, inputs["temp"], ids, queue, distil)
    return outputs | _weights(outputs["sim_i2t"], outputs["sim_t2i"], ids)


def _queue(inputs: Inputs, ids: Int[Array, "q"]) -> Queue:
    """The original's queue, whose columns are our rows."""
    image, text = (jnp.asarray(inputs[name]).T for name in ("image_queue", "text_queue"))
    return Queue(image, text, ids, inputs.ids("queue_ptr").reshape(()))


def _queue_outputs(queue: Queue, suffix: str = "") -> Outputs:
    return {
        f"image_queue{suffix}": queue.image.T,
        f"text_queue{suffix}": queue.text.T,
        f"queue_ptr{suffix}": queue.pointer[None],
    }


def _contrast(
    inputs: Inputs, temperature: Array, ids: Int[Array, "b"], queue: Queue, distil: bool
) -> Outputs:
    own = l2_normalise(inputs["image"]), l2_normalise(inputs["text"])
    taught = l2_normalise(inputs["image_momentum"]), l2_normalise(inputs["text_momentum"])
    sides = make_sides(own, taught if distil else None, ids, taught)
    queues = make_queues(queue, distil)
    form, scale, alpha = SoftmaxForm(), Scale(temperature, jnp.zeros(())), inputs["alpha"]
    blocks, pushed = whole_blocks(sides, queues, scale), queue.push(*taught, ids)
    return {
        "loss": plain_loss(form, sides, queues, scale, alpha),
        **dict(zip(("sim_i2t", "sim_t2i"), (block.logits for block in blocks))),
        **dict(zip(("targets_i2t", "targets_t2i"), (form.targets(x, alpha) for x in blocks))),
        "hard_targets": form.targets(blocks[0], 0.0),
        "idx_queue": pushed.ids[None],
        **_queue_outputs(pushed),
    }


@LOSS_FUNCTIONS.register("albef_hard_negative_weights")
def hard_negative_weights(inputs: Inputs) -> Outputs:
    """By what the negatives of image-text matching are drawn."""
    ids = jnp.arange(len(inputs["sim_i2t"]))
    return _weights(inputs["sim_i2t"], inputs["sim_t2i"], ids)


def _weights(image_to_text: Array, text_to_image: Array, ids: Int[Array, "b"]) -> Outputs:
    return {
        "weights_i2t": negative_weights(image_to_text[:, : len(ids)], ids),
        "weights_t2i": negative_weights(text_to_image[:, : len(ids)], ids),
    }


@LOSS_FUNCTIONS.register("albef_queue")
def queue(inputs: Inputs) -> Outputs:
    """Both queues after each of the calls."""
    state = _queue(inputs, jnp.full(inputs["image_queue"].shape[1], -100, jnp.int32))
    outputs: Outputs = {}
    calls = sum(name.startswith("image_feat_") for name in inputs)
    for call in range(calls):
        image, text = inputs[f"image_feat_{call}"], inputs[f"text_feat_{call}"]
        state = state.push(image, text, jnp.zeros(len(image), jnp.int32))
        outputs |= _queue_outputs(state, f"_{call}")
    return outputs


@LOSS_FUNCTIONS.register("albef_momentum_update")
def momentum(inputs: Inputs) -> Outputs:
    """The momentum copy of a layer after it has moved."""
    names = [name for name in inputs if f"{name}_m" in inputs]
    teacher = {f"{name}_m": inputs[f"{name}_m"] for name in names}
    online = {f"{name}_m": inputs[name] for name in names}
    return update_teacher(teacher, online, inputs["momentum"])


@LOSS_FUNCTIONS.register("albef_mlm_distill")
def masked_words(inputs: Inputs) -> Outputs:
    """Masked words, by their labels and by the teacher."""
    logits, labels = inputs["logits"], inputs.ids("labels")
    losses = distilled_cross_entropy(
        logits, jnp.maximum(labels, 0), inputs["logits_momentum"], inputs["alpha"]
    )
    return {"loss": masked_mean(losses, labels >= 0), "loss_hard": labelled_mean(logits, labels)}


@LOSS_FUNCTIONS.register("albef_cls_distill")
def classes(inputs: Inputs) -> Outputs:
    """Classes of entailment and NLVR2."""
    losses = distilled_cross_entropy(
        inputs["logits"], inputs.ids("targets"), inputs["logits_momentum"], inputs["alpha"]
    )
    return {"loss": losses.mean()}


@LOSS_FUNCTIONS.register("albef_vqa_answer_loss")
def answers(inputs: Inputs) -> Outputs:
    """Answers that the decoder spells."""
    ids = inputs.ids("answer_ids")
    logits, taught = inputs["logits"], inputs["logits_momentum"]
    losses = answer_text_losses(logits, ids, ids != 0, taught, inputs["alpha"])
    questions = np.asarray(inputs["answers_per_question"]).size
    return {
        "loss": weighted_answer_loss(losses, inputs["answer_weights"], questions),
        "per_answer": losses,
        "per_answer_no_distill": answer_text_losses(logits, ids, ids != 0),
    }
