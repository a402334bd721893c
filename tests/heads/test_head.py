"""Tests of what each head reads of a pass, and of dropout in training alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.model.tiny import BLOCK, count_draws, random_batch, random_params, tiny_model
from vlp_jax.heads import HEADS
from vlp_jax.model import VisionLanguageModel

DECODER = dict(vocab_size=9, layers=1) | BLOCK
ARGS = {
    **{name: DECODER for name in ("answer", "answer_decoder", "caption")},
    **{name: dict(classes=3) for name in ("classifier", "vqa", "region_classifier")},
    **{name: dict(classes=3) for name in ("pair_classifier", "weight_norm_classifier")},
    "paired_attention": dict(heads=2),
    "region_labels": dict(objects=3, attributes=2, features=4),
}


def pooled(model, head, reading):
    return head(*(model.pool(fused) for fused in reading.fused))


def written(model, head, reading):
    question = reading.fused[0].text
    return head(jnp.zeros(question.mask.shape, int), question.mask, question)


def captioned(model, head, reading):
    return head(jnp.zeros(reading.texts[0].mask.shape, int), reading.texts[0].mask, *reading.images)


def region_states(model, head, reading):
    return head(reading.fused[0].image.states)


def regions(model, head, reading):
    return head(reading.fused[0].image)


# What is read, spelt out.
READS = {
    **{name: pooled for name in ("classifier", "vqa", "itm", "weight_norm_classifier")},
    "pair_classifier": pooled,
    "paired_attention": lambda model, head, reading: head(*reading.fused),
    **{name: written for name in ("answer", "answer_decoder")},
    "caption": captioned,
    "itc": lambda model, head, reading: head(reading.images[0], reading.texts[0]),
    "mlm": lambda model, head, r: head(r.fused[0].text.states, model.text.word_table()),
    "word_scores": lambda model, head, reading: head(reading.fused[0].text),
    "phrase_grounding": lambda _, head, r: head(r.fused[0].text.states, r.fused[0].image),
    **{name: region_states for name in ("region_classifier", "region_labels")},
    **{name: regions for name in ("region_score", "region_scores")},
    "region_feature": lambda model, head, r: head(
        r.fused[0].image.states, model.vision.feature_table()
    ),
}


# "detection" reads a square map and has tests of its own.
@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in HEADS if name != "detection"])
def test_each_reads_its_part_of_a_pass_and_drops_in_training_alone(name):
    names = {field.name for field in dataclasses.fields(HEADS[name])}
    drops = {n: 0.5 for n in ("dropout", "attention_dropout") if n in names}
    heads = {name: ARGS.get(name, {}) | drops}
    model, rng = tiny_model("regions", "single_stream", heads=heads), np.random.default_rng()
    pictures = 2 if HEADS[name].pictures == 2 else 0
    batch = random_batch(rng, "regions", size=2, pictures=pictures)
    variables = {"params": random_params(model, rng)}

    def outputs(model: VisionLanguageModel, batch, training):
        reading = model.encode(batch)
        found = model.read(name, reading, deterministic=not training)
        return found if training else (found, READS[name](model, model.heads[name], reading))

    def apply(batch, training=False):
        rngs = {"dropout": jax.random.key(0)}
        return model.apply(variables, batch, training, method=outputs, rngs=rngs)

    found, exact = jax.jit(apply)(batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, exact)
    draws = lambda training: count_draws(jax.make_jaxpr(lambda x: apply(x, training))(batch).jaxpr)
    assert draws(False) == 0 and (draws(True) > 0) == bool(drops)
