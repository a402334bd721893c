"""What training shows a model (segments, hidden regions, types, …), evaluation shows it too."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from tests.model.tiny import VOCABULARY, random_batch, random_params
from vlp_jax.config import ModelConfig
from vlp_jax.model import Forward, Views, VisionLanguageModel, build_model
from vlp_jax.weights.zoo import ZOO

SMALL = {
    **dict(width=16, heads=2, mlp_width=24, vocab_size=VOCABULARY, max_length=8, positions=8),
    **dict(image_size=8, patch_size=4, embedding_width=4, widths=(8,), depths=(1,)),
    **dict(feature_width=6, connection_heads=2, image_heads=2, image_mlp_width=24),
    **dict(image_layers=(1,), text_layers=(1,), dropout=0.0, attention_dropout=0.0),
    **dict(image_dropout=0.0, image_attention_dropout=0.0, embedding_dropout=0.0),
}
FIELDS = ("text_segments", "region_hidden", "region_types", "region_alignment")


def small(args):
    """Returns the arguments of a part with its sizes cut down and without dropout."""
    cut = {name: SMALL.get(name, value) for name, value in args.items()}
    return cut | ({"layers": min(args["layers"], 1)} if "layers" in args else {})


def body(config: ModelConfig) -> str:
    """Returns a published model in tiny size without its heads, as JSON."""
    cut = {name: small(getattr(config, name)) for name in ("vision_args", "text_args")}
    cut |= {name: small(getattr(config, name)) for name in ("fusion_args", "pooler_args")}
    return json.dumps(dataclasses.asdict(dataclasses.replace(config, heads={}, **cut)))


@functools.cache
def tiny(described: str) -> VisionLanguageModel:
    return build_model(ModelConfig(**json.loads(described)))


def batch_of(model, rng, size=4):
    """Returns a batch that has all optional fields."""
    vision = "regions" if "region_mask" in model.vision.reads else "vit"
    batch = random_batch(rng, vision, size=size)
    regions = batch["region_mask"].shape if vision == "regions" else (size, 1)
    return batch | {
        "text_segments": rng.integers(0, 2, batch["text_ids"].shape).astype(np.int32),
        "region_hidden": rng.random(regions) < 0.5,
        "region_types": rng.integers(0, 2, regions).astype(np.int32),
        "region_alignment": rng.integers(-1, 6, (*regions, 2)).astype(np.int32),
    }


@functools.cache
def passes(described: str):
    """Returns (of training, of evaluation, of the model's call) for a batch and changed ones."""
    model, rng = tiny(described), np.random.default_rng()
    params, batch = random_params(model, rng), batch_of(model, rng)
    other = {
        "text_segments": 1 - batch["text_segments"],
        "region_hidden": ~batch["region_hidden"],
        "region_types": 1 - batch["region_types"],
        "region_alignment": (batch["region_alignment"] + 2) % 7 - 1,
    }
    trained = jax.jit(
        lambda batch: Views(model, params, batch, key=jax.random.key(0), chunks=2).fused()
    )
    called = jax.jit(lambda batch: model.apply({"params": params}, batch)["fused"])
    forward = Forward(model, params)
    every = lambda batch: (trained(batch), forward(Views.fused, batch), called(batch))
    return every(batch), {name: every(batch | {name: other[name]}) for name in FIELDS}


ONE_PICTURE = [n for n, published in ZOO.items() if "two_image" not in published.config.fusion]


@pytest.mark.drawn(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_PICTURE)
def test_training_and_evaluation_show_the_same(name):
    (trained, evaluated, called), changed = passes(body(ZOO[name].config))
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, evaluated, trained)
    jax.tree.map(close, called, trained)
    args = ZOO[name].config.vision_args
    read = {
        "text_segments": True,
        "region_hidden": bool(args.get("mask_embedding")),
        "region_types": bool(args.get("types")) or args.get("text_type", -1) >= 0,
        "region_alignment": bool(args.get("positions")),
    }
    for field, shown in changed.items():
        for before, after in zip((trained, evaluated, called), shown):
            pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after))
            moved = max(np.abs(a - b).max() for a, b in pairs if a.dtype != bool)
            assert (moved > 1e-3) == read[field], field


@pytest.mark.parametrize("name", sorted(ZOO.keys() - set(ONE_PICTURE)))
def test_a_fusion_of_two_pictures_is_not_trained_on_one(name):
    model, rng = tiny(body(ZOO[name].config)), np.random.default_rng()
    views = Views(model, random_params(model, rng), batch_of(model, rng))
    with pytest.raises(ValueError, match=r"fusion reads 2 picture\(s\) an example, and 1 were"):
        jax.eval_shape(views.fused)
