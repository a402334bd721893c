"""Every output of the ALBEF bundles for entailment, NLVR2 and question answering."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.heads.answer_decoder import answer_log_likelihood, rank_answers
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.losses.answer_text import answer_text_losses, weighted_answer_loss
from vlp_jax.losses.cross_entropy import distilled_cross_entropy
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.verify.albef import distillation, forward, layer_outputs, moved_teacher
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, channels_last, gradients, load, quick_jit
from vlp_jax.verify.runner import RUNNERS


@RUNNERS.register("albef/ve")
def entailment(bundle: Bundle) -> dict[str, Any]:
    """Three classes for an image and a sentence."""
    loaded = load(bundle)

    def outputs(params: Any) -> dict[str, Any]:
        (image, text, fused), _ = forward(loaded, params)
        return {
            "text_valid": text.mask,
            "image_embeds": image.states,
            "fusion_output": fused.text,
            "logits": loaded.apply(params, Model.class_logits, "ve", fused),
        }

    return _with_gradients(loaded, outputs)


@RUNNERS.register("albef/nlvr2")
def nlvr2(bundle: Bundle) -> dict[str, Any]:
    """Two classes for two images and a sentence."""
    loaded = load(bundle)

    def outputs(params: Any) -> dict[str, Any]:
        (images, text, fused), sown = _forward_two_images(loaded, params)
        return {
            "text_valid": text.mask,
            **{f"image{i}_embeds": image.states for i, image in enumerate(images)},
            **layer_outputs(loaded, sown, text.mask),
            "logits": loaded.apply(params, Model.class_logits, "nlvr2", fused),
        }

    return _with_gradients(loaded, outputs)


@RUNNERS.register("albef/vqa")
def vqa(bundle: Bundle) -> dict[str, Any]:
    """Scores and ranking of a list of answers, and the training loss of the decoder."""
    loaded = load(bundle)
    outputs = quick_jit(lambda params: _vqa_outputs(loaded, params))(loaded.params)
    return outputs | gradients(loaded, lambda params: _vqa_loss(loaded, params))


def _with_gradients(loaded: Loaded, outputs: Any) -> dict[str, Any]:
    """Adds the loss of a distilled classifier, (1-α)·CE + α·CE against the teacher."""
    bundle = loaded.bundle

    def loss(params: Any) -> Array:
        alpha, logits = distillation(bundle), outputs(params)["logits"]
        taught = outputs(moved_teacher(loaded, params))["logits"]
        return distilled_cross_entropy(logits, bundle.ids("targets"), taught, alpha).mean()

    return quick_jit(outputs)(loaded.params) | gradients(loaded, loss)


def _forward_two_images(loaded: Loaded, params: Any) -> tuple[tuple, dict]:
    bundle = loaded.bundle
    pixels = [channels_last(bundle.input(f"image{i}")) for i in range(2)]

    def encode(model: Model, ids: Array, mask: Array) -> tuple[list[Tokens], Tokens, Fused]:
        images = [model.encode_image({"image": image}) for image in pixels]
        text = model.encode_text(ids, mask)
        return images, text, model.fuse(text, *images)

    return loaded.trace(params, encode, bundle.ids("input_ids"), bundle.mask("attention_mask"))


def _decode(loaded: Loaded, params: Any, ids: Array, mask: Array, question: Tokens) -> Array:
    """Returns next-word logits [N, L, V] of answers, one question a row."""
    return loaded.apply(params, lambda m, *args: m.head("answer")(*args), ids, mask, question)


def _rows(tokens: Tokens, rows: np.ndarray) -> Tokens:
    return jax.tree.map(lambda x: x[rows], tokens)


def _vqa_outputs(loaded: Loaded, params: Any) -> dict[str, Any]:
    bundle = loaded.bundle
    (image, text, fused), _ = forward(loaded, params)
    ids, mask = bundle.ids("answer_list_ids"), bundle.mask("answer_list_mask")
    questions, answers = len(text.mask), len(ids)
    start = jnp.broadcast_to(ids[:1, :1], (questions, 1))
    first = _decode(loaded, params, start, start == start, fused.text)[:, 0]
    every = _rows(fused.text, np.repeat(np.arange(questions), answers))
    tiled = jnp.tile(ids, (questions, 1)), jnp.tile(mask, (questions, 1))
    logits = _decode(loaded, params, *tiled, every)
    likelihood = answer_log_likelihood(logits, *tiled).reshape(questions, answers)
    first_probability = jax.nn.softmax(first)[:, ids[:, 1]]
    top_ids, top = rank_answers(first_probability, likelihood, int(bundle.number("k")))
    all_ids, all_probabilities = rank_answers(first_probability, likelihood, answers)
    return {
        "text_valid": text.mask,
        "image_embeds": image.states,
        "question_output": fused.text,
        "first_logits": first,
        "first_token_prob": first_probability,
        "answer_loss": -likelihood,
        "decoder_logits_question0": Tokens(logits[:answers], mask),
        "score_all": jnp.log(first_probability) + likelihood,
        "rank_topk_ids": top_ids,
        "rank_topk_probs": top,
        "rank_all_ids": all_ids,
        "rank_all_probs": all_probabilities,
    }


def _vqa_loss(loaded: Loaded, params: Any) -> Array:
    """Σ weight · distilled loss of each question's answers, over the number of questions."""
    bundle = loaded.bundle
    chosen = bundle.input("train_answers")
    ids, mask = bundle.ids("answer_list_ids")[chosen], bundle.mask("answer_list_mask")[chosen]
    counts = bundle.input("answers_per_question")
    rows = np.repeat(np.arange(len(counts)), counts)

    def logits(params: Any) -> Array:
        (_, _, fused), _ = forward(loaded, params)
        return _decode(loaded, params, ids, mask, _rows(fused.text, rows))

    taught = logits(moved_teacher(loaded, params))
    losses = answer_text_losses(logits(params), ids, mask, taught, distillation(bundle))
    return weighted_answer_loss(losses, bundle.input("train_weights"), len(counts))
