"""VisionLanguageModel: any vision encoder × text encoder × fusion × heads, put together by name."""

import dataclasses
import inspect
import logging
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlp_jax.config import ModelConfig, Registry, checked_fields
from vlp_jax.encoders import TEXT_ENCODERS, VISION_ENCODERS
from vlp_jax.fusion import FUSIONS
from vlp_jax.heads import HEADS, POOLERS
from vlp_jax.layers.projection import INITIAL_STD, initial_std
from vlp_jax.layers.tokens import Fused, Tokens

logger = logging.getLogger(__name__)

# What all parts have in common, and where it is set.
_SHARED_SETTINGS = {
    "dtype": "config.training.dtype",
    "remat": "config.training.remat",
    "scan_layers": "config.model.scan_layers",
}


class VisionLanguageModel(nn.Module):
    """Two encoders, a fusion, a pooler and heads; call its methods through `model.apply`.

    The parts are unbound Linen modules; `build_model` makes them from a `ModelConfig`.
    """

    vision: nn.Module
    text: nn.Module
    fusion: nn.Module
    pooler: nn.Module
    heads: dict[str, nn.Module]

    def __call__(self, batch: dict) -> dict[str, Any]:
        """Runs every part once and returns all that they give; used to initialise parameters."""
        image = self.encode_image(batch)
        text = self.encode_text(batch["text_ids"], batch["text_mask"])
        images = [image] * getattr(self.fusion, "images", 1)
        fused = self.fuse(text, *images)
        outputs = {name: self.run_head(name, text, image, fused) for name in self.heads}
        return {"image": image, "text": text, "fused": fused, "pooled": self.pool(fused), **outputs}

    def encode_image(self, batch: dict, *, deterministic: bool = True) -> Tokens:
        """Encodes the fields that the vision encoder reads (`image`, or `region_*`)."""
        if getattr(self.vision, "shares_text_tables", False):
            return self.vision(batch, text_encoder=self.text, deterministic=deterministic)
        return self.vision(batch, deterministic=deterministic)

    def encode_text(
        self, ids, mask, segments=None, *, deterministic: bool = True, **options: Any
    ) -> Tokens:
        """Encodes ids [B, L] under a boolean mask [B, L]; `options` go to the text encoder."""
        return self.text(ids, mask, segments, deterministic=deterministic, **options)

    def fuse(
        self,
        text: Tokens,
        *images: Tokens,
        joint_mask: Array | None = None,
        deterministic: bool = True,
    ) -> Fused:
        """Lets text and image (or, where the fusion takes several, images) read each other.

        `joint_mask` [B, T, T] limits which position of text followed by image sees which; only
        the single-stream fusion takes one.
        """
        options = {} if joint_mask is None else {"joint_mask": joint_mask}
        return self.fusion(text, *images, **options, deterministic=deterministic)

    def pool(self, fused: Fused, *, deterministic: bool = True) -> Array:
        """Returns one vector [B, D] for each pair."""
        return self.pooler(fused, deterministic=deterministic)

    def match_logits(self, fused: Fused, *, deterministic: bool = True) -> Array:
        """Returns the image-text matching logits [B, 2]."""
        return self.head("itm")(self.pool(fused, deterministic=deterministic))

    def answer_logits(self, fused: Fused, *, deterministic: bool = True) -> Array:
        """Returns answer logits [B, A]; the text of `fused` is the question."""
        return self.class_logits("vqa", fused, deterministic=deterministic)

    def class_logits(self, head: str, fused: Fused, *, deterministic: bool = True) -> Array:
        """Returns the logits [B, C] of a named classifier on the pooled vector."""
        pooled = self.pool(fused, deterministic=deterministic)
        return self.head(head)(pooled, deterministic=deterministic)

    def answer_words(
        self, fused: Fused, ids: Array, mask: Array, *, deterministic: bool = True
    ) -> Array:
        """Returns next-word logits [B, K, L, V] of K answers to each question, from the decoder.

        The text of `fused` is the question; `ids` and `mask` [B, K, L] are its answers.
        """
        size, count, length = ids.shape
        question = jax.tree.map(lambda x: jnp.repeat(x, count, axis=0), fused.text)
        flat = ids.reshape(size * count, length), mask.reshape(size * count, length)
        logits = self.head("answer")(*flat, question, deterministic=deterministic)
        return logits.reshape(size, count, length, -1)

    def word_logits(self, states: Array) -> Array:
        """Returns word logits [B, L, V] for fused text states [B, L, D]."""
        return self.head("mlm")(states, self.text.word_table())

    def image_vector(self, image: Tokens) -> Array:
        """Returns the contrastive unit vector of each image."""
        return self.head("itc").image(image)

    def text_vector(self, text: Tokens) -> Array:
        """Returns the contrastive unit vector of each text."""
        return self.head("itc").text(text)

    def temperature(self) -> Array:
        """Returns the learned temperature of the contrastive similarities."""
        return self.head("itc").learned_temperature

    def similarity_bias(self) -> Array:
        """Returns the learned bias of the contrastive logits; ValueError if the head has none."""
        head = self.head("itc")
        if head.bias is None:
            raise ValueError(
                "the sigmoid contrastive loss needs a learned bias: set "
                "config.model.heads.itc.bias (SigLIP: -10, with a temperature of 0.1)"
            )
        return head.learned_bias

    def head(self, name: str) -> nn.Module:
        """Returns a head by name; one the model lacks is a ValueError that lists the others."""
        if name not in self.heads:
            raise ValueError(f'the model has no head "{name}"; it has {", ".join(self.heads)}')
        return self.heads[name]

    def run_head(
        self, name: str, text: Tokens, image: Tokens, fused: Fused, *, deterministic: bool = True
    ) -> Any:
        """Applies one head to what its class attribute `reads` names, by default "pooled"."""
        sources = {
            "text": lambda: text,
            "image": lambda: image,
            "fused_text": lambda: fused.text,
            "fused_image": lambda: fused.image,
            "text_states": lambda: fused.text.states,
            "image_states": lambda: fused.image.states,
            "fused": lambda: fused,
            "pooled": lambda: self.pool(fused, deterministic=deterministic),
            "word_table": self.text.word_table,
            "feature_table": lambda: self.vision.feature_table(),
            "blank_ids": lambda: jnp.zeros_like(fused.text.mask, jnp.int32),
            "text_mask": lambda: fused.text.mask,
        }
        head = self.heads[name]
        drops = "deterministic" in inspect.signature(type(head).__call__).parameters
        options = {"deterministic": deterministic} if drops else {}
        inputs = (sources[source]() for source in getattr(head, "reads", ("pooled",)))
        return head(*inputs, **options)


def build_model(
    config: ModelConfig, dtype: str = "float32", remat: str = "none"
) -> VisionLanguageModel:
    """Returns the model that `config` describes; parts compute in `dtype`.

    `remat` says what the backward pass computes again (`vlp_jax.layers.stack.REMAT_POLICIES`).
    Raises ValueError for unknown parts and arguments, with the path and the nearest valid name.
    """
    shared = {"dtype": dtype, "remat": remat, "scan_layers": config.scan_layers}
    return VisionLanguageModel(
        vision=_part(VISION_ENCODERS, config.vision, config.vision_args, "vision", shared),
        text=_part(TEXT_ENCODERS, config.text, config.text_args, "text", shared),
        fusion=_part(FUSIONS, config.fusion, config.fusion_args, "fusion", shared),
        pooler=_part(POOLERS, config.pooler, config.pooler_args, "pooler", shared),
        heads={name: _head(name, args, shared) for name, args in config.heads.items()},
    )


def example_batch(model: VisionLanguageModel, size: int = 1) -> dict[str, Array]:
    """Returns a batch of zeros with the fields and shapes that the model reads."""
    length = min(8, model.text.max_length)
    batch = {
        "text_ids": jnp.zeros((size, length), jnp.int32),
        "text_mask": jnp.ones((size, length), bool),
    }
    if "image" in model.vision.reads:
        side = model.vision.image_size
        return batch | {"image": jnp.zeros((size, side, side, 3), jnp.uint8)}
    return batch | {
        "region_features": jnp.zeros((size, 4, model.vision.feature_width)),
        "region_boxes": jnp.zeros((size, 4, 4)),
        "region_mask": jnp.ones((size, 4), bool),
        "region_hidden": jnp.zeros((size, 4)),
    }


def abstract_params(model: VisionLanguageModel) -> Any:
    """Returns the parameter tree as shapes, with logical axis names, without computing anything."""
    return jax.eval_shape(lambda: init_params(model, jax.random.key(0)))


def init_params(model: VisionLanguageModel, key: Array, std: float = INITIAL_STD) -> Any:
    """Returns freshly drawn parameters, each boxed with its logical axis names.

    Weights have the deviation `std`, except in parts that say what theirs is.
    """
    with initial_std(std):
        return model.init(key, example_batch(model), mutable=["params"])["params"]


def _part(registry: Registry, name: str, args: Mapping, path: str, shared: Mapping) -> nn.Module:
    cls = registry.get_known(name, f"config.model.{path}")
    args = _for_this_kind(registry, name, args, f"config.model.{path}_args")
    return _made(cls, args, f"config.model.{path}_args", shared)


def _made(cls: type, args: Mapping, path: str, shared: Mapping) -> nn.Module:
    """Returns a part with its own arguments and those `shared` settings that it has fields for."""
    own = {field.name for field in dataclasses.fields(cls)}
    for key in own & shared.keys() & args.keys():
        raise ValueError(f"{path}.{key}: set {_SHARED_SETTINGS[key]}, for all parts")
    given = {key: value for key, value in shared.items() if key in own}
    return cls(**checked_fields(cls, args, path), **given)


def _for_this_kind(registry: Registry, name: str, args: Mapping, path: str) -> dict[str, Any]:
    """Drops, with a warning, arguments of another kind, so that one override changes the kind."""
    own = {f.name for f in dataclasses.fields(registry[name])}
    kept = {}
    for key, value in args.items():
        owners = [n for n, c in registry.items() if key in {f.name for f in dataclasses.fields(c)}]
        if key in own or not owners:
            kept[key] = value
        else:
            logger.warning("%s.%s belongs to %s; %s does not use it", path, key, owners[0], name)
    return kept


def _head(name: str, args: Mapping, shared: Mapping) -> nn.Module:
    args = dict(args)
    path = f"config.model.heads.{name}"
    cls = HEADS.get_known(args.pop("kind", name), path)
    return _made(cls, args, path, shared)
