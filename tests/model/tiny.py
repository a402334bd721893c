"""Models of one narrow layer, random parameters and batches for them, and counts of draws."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.config import ModelConfig, build
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import VisionLanguageModel, build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox

WIDTH, VOCABULARY, ANSWERS, FEATURES = 16, 24, 5, 6
BLOCK = dict(heads=2, mlp_width=24, dropout=0.0, attention_dropout=0.0)
VISION = {
    "vit": dict(image_size=8, patch_size=4, width=WIDTH, layers=1, **BLOCK),
    "resnet": dict(image_size=8, embedding_width=4, widths=(8,), depths=(1,), width=WIDTH),
    "regions": dict(feature_width=FEATURES, width=WIDTH, boxes="corners_area", **BLOCK),
}
TEXT = {"bert": dict(vocab_size=VOCABULARY, width=WIDTH, layers=1, max_length=8, **BLOCK)}
CLASSES = 3
HEADS = dict(itc=dict(width=8), itm={}, mlm={}, vqa=dict(classes=ANSWERS))
STREAM = dict(connection_heads=2, image_heads=2, image_mlp_width=24)
STREAM |= dict(image_dropout=0.0, image_attention_dropout=0.0)


def fusion_args(fusion: str, **changes: Any) -> dict[str, Any]:
    """Returns the arguments of one narrow layer of a fusion."""
    return dict(layers=1, **BLOCK) | (STREAM if fusion == "co_attention" else {}) | changes


def tiny_model(
    vision: str = "vit",
    fusion: str = "cross_attention",
    *,
    heads: Mapping[str, Any] = HEADS,
    dtype: str = "float32",
    **changes: Any,
) -> VisionLanguageModel:
    """Returns a model of one layer a part; `changes` replace fields of its `ModelConfig`."""
    values = dict(
        vision=vision,
        vision_args=VISION[vision],
        text_args=TEXT["bert"],
        fusion=fusion,
        fusion_args=fusion_args(fusion),
        heads=heads,
    )
    return build_model(build(ModelConfig, values | changes, "config.model"), dtype)


def random_params(model: VisionLanguageModel, rng: np.random.Generator) -> Any:
    """Returns parameters large enough for every path to matter."""
    params = random_like(unbox(abstract_params(model)), rng)
    if "heads_itc" in params:
        params["heads_itc"]["temperature"] = np.float32(0.2)
    return params


def random_like(shapes: Any, rng: np.random.Generator) -> Any:
    """Returns normal draws, a third wide, in the shapes of a tree; what has to be is positive."""

    def draw(path: tuple, leaf: Any) -> np.ndarray:
        values = 0.3 * rng.normal(size=leaf.shape).astype(np.float32)
        name = jax.tree_util.keystr(path)
        positive = "variance" in name or "temperature" in name
        return np.abs(values) + 0.5 if positive else values

    return jax.tree_util.tree_map_with_path(draw, shapes)


def random_variables(module: Any, rng: np.random.Generator, *args: Any, **kwargs: Any) -> Any:
    """Returns {"params": ...} for a Linen module called with these arguments."""
    init = lambda: module.init(jax.random.key(0), *args, **kwargs)["params"]
    return {"params": random_like(unbox(jax.eval_shape(init)), rng)}


def run_module(module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Returns random parameters of a Linen module, and what it makes of these arguments."""
    variables = random_variables(module, np.random.default_rng(), *args, **kwargs)
    return variables.get("params"), module.apply(variables, *args, **kwargs)


def random_batch(
    rng: np.random.Generator, vision: str = "vit", size: int = 8, length: int = 6, pictures: int = 0
) -> dict[str, np.ndarray]:
    """Returns a batch with every field that a task reads; image ids repeat once.

    With `pictures` an example has that many: vision fields are [B, pictures, ...].
    """
    batch = {}
    for name in ("text", "question"):
        lengths = rng.integers(3, length + 1, size)
        batch[f"{name}_mask"] = np.arange(length) < lengths[:, None]
        batch[f"{name}_ids"] = rng.integers(1, VOCABULARY, (size, length)).astype(np.int32)
    masked = batch["text_mask"] & (rng.random((size, length)) < 0.5)
    batch["mlm_ids"] = np.where(masked, 3, batch["text_ids"]).astype(np.int32)
    batch["mlm_labels"] = np.where(masked, batch["text_ids"], -100).astype(np.int32)
    scores = rng.random((size, ANSWERS)) * (rng.random((size, ANSWERS)) < 0.5)
    batch["answer_scores"] = scores.astype(np.float32)
    batch |= _answers(rng, size)
    batch |= {"decoded_ids": batch["text_ids"], "decoded_mask": batch["text_mask"]}
    batch["image_id"] = (np.arange(size) % max(size - 1, 1)).astype(np.int32)
    batch["pair_labels"] = rng.integers(0, 2, size).astype(np.int32)
    seen = _regions if vision == "regions" else _pixels
    if not pictures:
        return batch | seen(rng, size)
    several = [seen(rng, size) for _ in range(pictures)]
    return batch | jax.tree.map(lambda *x: np.stack(x, axis=1), *several)


def _answers(rng: np.random.Generator, size: int, count: int = 2) -> dict[str, np.ndarray]:
    """Returns answers of two or three tokens; the second one of every question is often filling."""
    lengths = np.stack([rng.integers(2, 4, size), rng.choice([0, 3], size)], axis=1)
    weights = rng.random((size, count)) * (lengths > 0)
    return {
        "answer_ids": rng.integers(1, VOCABULARY, (size, count, 3)).astype(np.int32),
        "answer_mask": np.arange(3) < lengths[..., None],
        "answer_weights": weights.astype(np.float32),
    }


def _pixels(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    side = VISION["vit"]["image_size"]
    return {"image": rng.integers(0, 256, (size, side, side, 3)).astype(np.uint8)}


def _regions(rng: np.random.Generator, size: int, regions: int = 4) -> dict[str, np.ndarray]:
    shape = size, regions
    corners = np.sort(rng.random((*shape, 2, 2)), axis=2).reshape(*shape, 4)
    labels = {
        f"region_{name}": rng.integers(0, CLASSES, shape).astype(np.int32)
        for name in ("labels", "attributes")
    }
    numbers = {
        "region_features": rng.normal(size=(*shape, FEATURES)),
        "region_targets": rng.normal(size=(*shape, FEATURES)),
        "region_boxes": corners,
        "region_class_scores": rng.dirichlet(np.ones(CLASSES), shape),
        "region_confidence": rng.random(shape),
        "region_attribute_confidence": rng.random(shape),
    }
    mask = np.arange(regions) < rng.integers(1, regions + 1, size)[:, None]
    hidden = mask & (rng.random(shape) < 0.5)
    masks = {"region_mask": mask, "region_hidden": hidden}
    return {name: x.astype(np.float32) for name, x in numbers.items()} | labels | masks


def random_tokens(
    rng: np.random.Generator, size: int, length: int, width: int = WIDTH, full: bool = False
) -> Tokens:
    """Returns normal states under a random mask whose first token is real."""
    mask = rng.random((size, length)) < (2 if full else 0.6)
    mask[:, 0] = True
    states = rng.normal(size=(size, length, width)).astype(np.float32)
    return Tokens(jnp.asarray(states), jnp.asarray(mask))


def count_draws(jaxpr: Any) -> int:
    """Returns how many random draws a jaxpr makes, those of its inner functions included."""
    total = 0
    for equation in jaxpr.eqns:
        total += equation.primitive.name == "random_bits"
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            total += count_draws(inner) if hasattr(inner, "eqns") else 0
    return total
