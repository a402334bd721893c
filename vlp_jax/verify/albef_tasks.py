"""Every output of the ALBEF bundles for entailment, NLVR2 and question answering."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Tokens
from vlp_jax.losses.cross_entropy import distilled_cross_entropy
from vlp_jax.model import VisionLanguageModel as Model
from vlp_jax.tasks import written_answers
from vlp_jax.tasks.questions import QUESTION
from vlp_jax.tasks.written_answers import WrittenAnswerTask
from vlp_jax.verify.albef import distillation, layers, moved_teacher, views_of
from vlp_jax.verify.bundle import Bundle
from vlp_jax.verify.forward import Loaded, TracedViews, channels_last, run, task_loss
from vlp_jax.verify.runner import RUNNERS

Outputs = dict[str, Any]


@RUNNERS.register("albef/ve")
def entailment(bundle: Bundle) -> Outputs:
    """Three classes for an image and a sentence."""
    return run(bundle, partial(_with_loss, _entailment_outputs))


@RUNNERS.register("albef/nlvr2")
def nlvr2(bundle: Bundle) -> Outputs:
    """Two classes for two images and a sentence."""
    return run(bundle, partial(_with_loss, _nlvr2_outputs))


@RUNNERS.register("albef/vqa")
def vqa(bundle: Bundle) -> Outputs:
    """Scores and ranking of a list of answers, and the training loss of the decoder."""
    return run(bundle, _vqa_outputs)


def _with_loss(outputs: Any, loaded: Loaded, params: Any) -> Outputs:
    """Adds the loss of a distilled classifier, (1-α)·CE + α·CE against the teacher."""
    bundle, computed = loaded.bundle, outputs(loaded, params)
    taught = outputs(loaded, moved_teacher(loaded, params))["logits"]
    losses = distilled_cross_entropy(
        computed["logits"], bundle.ids("targets"), taught, distillation(bundle)
    )
    return computed | {"loss": losses.mean()}


def _entailment_outputs(loaded: Loaded, params: Any) -> Outputs:
    views = views_of(loaded, params)
    return {
        "text_valid": views.text().mask,
        "image_embeds": views.image().states,
        "fusion_output": views.fused().text,
        "logits": views.head("ve"),
    }


def _nlvr2_outputs(loaded: Loaded, params: Any) -> Outputs:
    bundle = loaded.bundle
    pictures = [channels_last(bundle.input(f"image{i}")) for i in range(2)]
    batch = {
        "image": jnp.stack(pictures, axis=1),
        "text_ids": bundle.ids("input_ids"),
        "text_mask": bundle.mask("attention_mask"),
    }

    def compute(model: Model, batch: dict) -> tuple[Reading, Array]:
        reading = model.encode(batch)
        return reading, model.read("nlvr2", reading)

    (reading, logits), sown = loaded.trace(params, compute, batch)
    mask = reading.texts[0].mask
    return {
        "text_valid": mask,
        **{f"image{i}_embeds": image.states for i, image in enumerate(reading.images)},
        **layers(loaded, sown, mask),
        "logits": logits,
    }


def _questions(loaded: Loaded, params: Any) -> TracedViews:
    """Returns views in which the bundle's texts are questions, with the answers of training."""
    bundle, views = loaded.bundle, views_of(loaded, params)
    given = zip((QUESTION.ids, QUESTION.mask), ("input_ids", "attention_mask"))
    asked = {ours: bundle.input(name) for ours, name in given}
    asked = {QUESTION.ids: jnp.asarray(asked[QUESTION.ids], jnp.int32)} | {
        QUESTION.mask: jnp.asarray(asked[QUESTION.mask]).astype(bool)
    }
    return loaded.views(params, {"image": views.batch["image"]} | asked | _taught(bundle))


def _taught(bundle: Bundle) -> dict[str, np.ndarray]:
    """Returns each question's answers in training, padded to the same number."""
    counts, chosen = bundle.input("answers_per_question"), bundle.input("train_answers")
    rows = np.repeat(np.arange(len(counts)), counts)
    places = np.concatenate([np.arange(count) for count in counts])
    slot = np.zeros((len(counts), counts.max()), int)
    weights = np.zeros(slot.shape, np.float32)
    slot[rows, places] = chosen
    weights[rows, places] = bundle.input("train_weights")
    ids, mask = bundle.ids("answer_list_ids"), bundle.mask("answer_list_mask")
    return {"answer_ids": ids[slot], "answer_mask": mask[slot], "answer_weights": weights}


def _vqa_outputs(loaded: Loaded, params: Any) -> Outputs:
    bundle, views = loaded.bundle, _questions(loaded, params)
    ids, mask = bundle.ids("answer_list_ids"), bundle.mask("answer_list_mask")
    count = len(ids)
    fused = views.fused(QUESTION)
    every = [jnp.broadcast_to(x, (views.size, *x.shape)) for x in (ids, mask)]
    losses, _, _ = views.run(written_answers.spelling_losses, fused, *every, name="spell")
    logits = views.run(written_answers.answer_words, fused, *every, name="words")
    return {
        "text_valid": fused.text.mask,
        "image_embeds": views.image().states,
        "question_output": fused.text,
        "first_logits": written_answers.first_word_logits(views, ids[0, 0]),
        "first_token_prob": written_answers.first_word_probabilities(views, ids),
        "answer_loss": losses,
        "decoder_logits_question0": Tokens(logits[0], mask),
        "score_all": written_answers.ranked_answers(views, ids, mask, count),
        **_ranking(views, ids, mask, int(bundle.number("k")), "topk"),
        **_ranking(views, ids, mask, count, "all"),
        "loss": _vqa_loss(loaded, params, views),
    }


def _ranking(views: TracedViews, ids: Array, mask: Array, keep: int, name: str) -> Outputs:
    """Returns the best of the answers with the likeliest first words, and their probabilities."""
    scores = written_answers.ranked_answers(views, ids, mask, keep)
    probabilities, best = jax.lax.top_k(jax.nn.softmax(scores), keep)
    return {f"rank_{name}_ids": best, f"rank_{name}_probs": probabilities}


def _vqa_loss(loaded: Loaded, params: Any, views: TracedViews) -> Array:
    teacher = _questions(loaded, moved_teacher(loaded, params))
    return task_loss(WrittenAnswerTask(alpha=distillation(loaded.bundle)), views, teacher)
