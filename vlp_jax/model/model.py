"""VisionLanguageModel: any vision encoder × text encoder × fusion × heads, put together by name."""

import dataclasses
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
from vlp_jax.fusion.fusion import SharedImage
from vlp_jax.heads import HEADS, POOLERS
from vlp_jax.heads.head import Head, Reading
from vlp_jax.layers.projection import INITIAL_STD, initial_std
from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.model.called import as_fused, as_tokens, calling

logger = logging.getLogger(__name__)

_VISION, _TEXT, _FUSION = "config.model.vision", "config.model.text", "config.model.fusion"

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

    def with_task(self, row: int | None) -> "VisionLanguageModel":
        """Returns the model that reads texts as those of a task, None being its own (12-in-1)."""
        return self if row is None else self.clone(text=self.text.with_task(row))

    def __call__(self, batch: dict, *, deterministic: bool = True) -> dict[str, Any]:
        """Returns all that the parts give for a batch, by name.

        Where an example has one picture, heads that compare two are left out, and the other way
        round: with an axis [B, 2] in the vision fields (and, if texts differ, in those of the text)
        they are the only ones. ValueError if no head is left.
        """
        reading = self.encode(batch, deterministic=deterministic)
        pictures = len(reading.images)
        heads = [n for n, head in self.heads.items() if self._pictures(head) == pictures]
        if self.heads and not heads:
            raise ValueError(
                f"the batch has {pictures} picture(s) an example, and this model compares "
                f"{max(map(self._pictures, self.heads.values()))}: give "
                f"{', '.join(self.vision.reads)} as [B, pictures, ...]"
            )
        outputs = {n: self.read(n, reading, deterministic=deterministic) for n in heads}
        return _streams(reading) | {"pooled": self._pooled(reading)} | outputs

    def every_head(self, batch: dict) -> None:
        """Runs pooler and all heads on a batch, whatever they compare; used to draw parameters."""
        one = self.encode(batch)
        self.pool(one.fused[0])
        for name, head in self.heads.items():
            fused = one.fused * (head.pictures if len(one.fused) == 1 else 1)
            self.read(name, one.replace(fused=fused[: head.pictures]))

    def encode(self, batch: dict, *, deterministic: bool = True) -> Reading:
        """Returns the pass of each picture of a batch with its text."""
        options = dict(deterministic=deterministic)
        images = tuple(self.encode_image(x, **options) for x in self._each_picture(batch))
        texts = tuple(self.encode_text(*x, **options) for x in _each_text(batch))
        if len(texts) not in (1, len(images)):
            raise ValueError(
                f"the batch has {len(images)} pictures and {len(texts)} texts an example"
            )
        if self.fusion.images > 1:
            return Reading(images, texts, (self.fuse(images, texts[0], **options),))
        pairs = zip(images, texts * (len(images) // len(texts)))
        return Reading(images, texts, tuple(self.fuse(*pair, **options) for pair in pairs))

    def encode_image(self, batch: dict, *, deterministic: bool = True) -> Tokens:
        """Encodes the fields that the vision encoder reads (`image`, or `region_*`)."""
        options = {"text_encoder": self.text} if self.vision.shares_text_tables else {}
        with calling(_VISION, self.vision, "batch"):
            tokens = self.vision(batch, **options, deterministic=deterministic)
        return as_tokens(_VISION, self.vision, tokens)

    def encode_text(
        self, ids, mask, segments=None, *, deterministic: bool = True, **options: Any
    ) -> Tokens:
        """Encodes ids [B, L] under a boolean mask [B, L]; `options` go to the text encoder."""
        with calling(_TEXT, self.text, "ids, mask, segments"):
            tokens = self.text(ids, mask, segments, deterministic=deterministic, **options)
        return as_tokens(_TEXT, self.text, tokens)

    def fuse(
        self,
        image: Tokens | SharedImage | tuple[Tokens, ...],
        text: Tokens,
        *,
        joint_mask: Array | None = None,
        deterministic: bool = True,
    ) -> Fused:
        """Lets image (or, where the fusion takes several, images) and text read each other.

        `joint_mask` [B, T, T] limits which position of text followed by image sees which; only
        the single-stream fusion takes one.
        """
        images = image if isinstance(image, tuple) else (image,)
        if len(images) != self.fusion.images:
            raise ValueError(
                f"the model's fusion reads {self.fusion.images} picture(s) an example, and "
                f"{len(images)} were given: give {', '.join(self.vision.reads)} as "
                "[B, pictures, ...]"
            )
        options = {} if joint_mask is None else {"joint_mask": joint_mask}
        pictures = "image" if len(images) == 1 else "first, second"
        with calling(_FUSION, self.fusion, f"{pictures}, text"):
            fused = self.fusion(*images, text, **options, deterministic=deterministic)
        return as_fused(_FUSION, self.fusion, fused)

    def share_image(self, image: Tokens) -> SharedImage:
        """Returns images projected for all texts that are fused with them (`shares_image`)."""
        return self.fusion.share(image)

    def read_pairs(
        self, name: str, image: SharedImage, text: Tokens, *, deterministic: bool = True
    ) -> Any:
        """Returns what a head gives for pairs; what it does not read of them is not computed."""
        pools = type(self.head(name)).of is Head.of
        first = pools and getattr(self.pooler, "first_token_alone", False)
        options = dict(queries=1) if first else {}
        fused = self.fusion(image, text, deterministic=deterministic, **options)
        return self.read(name, Reading((), (), (fused,)), deterministic=deterministic)

    def pool(self, fused: Fused, *, deterministic: bool = True) -> Array:
        """Returns one vector [B, D] for each pair."""
        with calling("config.model.pooler", self.pooler, "fused"):
            return self.pooler(fused, deterministic=deterministic)

    def read(self, name: str, reading: Reading, *, deterministic: bool = True) -> Any:
        """Returns what a head gives for a pass."""
        head = self.head(name)
        with calling(f"config.model.heads.{name}", head, "..."):
            return head.of(self, reading, deterministic=deterministic)

    def table_sizes(self) -> dict[str, int]:
        """Returns batch field → rows of the table that it points into (`check_indices`)."""
        own = {"text_ids": self.text.vocab_size, "text_segments": self.text.types}
        return own | dict(self.vision.table_sizes(self.text))

    def head(self, name: str) -> nn.Module:
        """Returns a head by name; one the model lacks is a ValueError that lists the others."""
        if name not in self.heads:
            raise ValueError(f'the model has no head "{name}"; it has {", ".join(self.heads)}')
        return self.heads[name]

    def _pictures(self, head: nn.Module) -> int:
        """Returns how many pictures an example has for a head."""
        return max(head.pictures, self.fusion.images)

    def _each_picture(self, batch: dict) -> list[dict]:
        """Returns the vision fields of each picture of the examples."""
        names = [n for n in (*self.vision.reads, *self.vision.may_read) if n in batch]
        first = batch[self.vision.reads[0]]
        if first.ndim == self.vision.rank:
            return [{name: batch[name] for name in names}]
        return [{name: batch[name][:, i] for name in names} for i in range(first.shape[1])]

    def _pooled(self, reading: Reading) -> Array:
        pooled = [self.pool(fused) for fused in reading.fused]
        return pooled[0] if len(pooled) == 1 else jnp.stack(pooled, axis=1)


def _each_text(batch: dict) -> list[tuple]:
    """Returns ids, mask and segments (or None) of each text of the examples."""
    given = [batch["text_ids"], batch["text_mask"], batch.get("text_segments")]
    if given[0].ndim == 2:
        return [tuple(given)]
    return [tuple(x if x is None else x[:, i] for x in given) for i in range(given[0].shape[1])]


def _streams(reading: Reading) -> dict[str, Any]:
    """Returns the tokens of a pass by name; those of several pictures in a tuple."""
    single = lambda values: values[0] if len(values) == 1 else values
    return {
        "image": single(reading.images),
        "text": single(reading.texts),
        "fused": single(reading.fused),
    }


def build_model(
    config: ModelConfig, dtype: str = "float32", remat: str = "none"
) -> VisionLanguageModel:
    """Returns the model that `config` describes; parts compute in `dtype`.

    `remat` says what the backward pass computes again (`vlp_jax.layers.stack.REMAT_POLICIES`).
    Raises ValueError for unknown parts and arguments, with the path and the nearest valid name.
    """
    shared = {"dtype": dtype, "remat": remat, "scan_layers": config.scan_layers}
    fusion = _part(FUSIONS, config.fusion, config.fusion_args, "fusion", shared)
    heads = {name: _head(name, args, shared) for name, args in config.heads.items()}
    for name, head in heads.items():
        if head.pictures > 1 and fusion.images > 1:
            raise ValueError(
                f"config.model.heads.{name} compares {head.pictures} pictures that are fused one "
                f"by one, and config.model.fusion = {config.fusion!r} reads {fusion.images} at "
                "once: choose another head or another fusion"
            )
    return VisionLanguageModel(
        vision=_part(VISION_ENCODERS, config.vision, config.vision_args, "vision", shared),
        text=_part(TEXT_ENCODERS, config.text, config.text_args, "text", shared),
        fusion=fusion,
        pooler=_part(POOLERS, config.pooler, config.pooler_args, "pooler", shared),
        heads=heads,
    )


def example_batch(model: VisionLanguageModel, size: int = 1) -> dict[str, Array]:
    """Returns a batch of zeros with the fields and shapes that the model reads."""
    length = min(8, model.text.max_length)
    batch = {
        "text_ids": jnp.zeros((size, length), jnp.int32),
        "text_mask": jnp.ones((size, length), bool),
    }
    pictures = (model.fusion.images,) if model.fusion.images > 1 else ()
    if "image" in model.vision.reads:
        side = model.vision.image_size
        return batch | {"image": jnp.zeros((size, *pictures, side, side, 3), jnp.uint8)}
    return batch | {
        "region_features": jnp.zeros((size, *pictures, 4, model.vision.feature_width)),
        "region_boxes": jnp.zeros((size, *pictures, 4, 4)),
        "region_mask": jnp.ones((size, *pictures, 4), bool),
        "region_hidden": jnp.zeros((size, *pictures, 4)),
    }


def abstract_params(model: VisionLanguageModel) -> Any:
    """Returns the parameter tree as shapes, with logical axis names, without computing anything."""
    return jax.eval_shape(lambda: init_params(model, jax.random.key(0)))


def init_params(model: VisionLanguageModel, key: Array, std: float = INITIAL_STD) -> Any:
    """Returns freshly drawn parameters, each boxed with its logical axis names.

    Weights have the deviation `std`, except in parts that say what theirs is.
    """
    with initial_std(std):
        drawn = model.init(key, example_batch(model), mutable=["params"], method=model.every_head)
    return drawn["params"]


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
