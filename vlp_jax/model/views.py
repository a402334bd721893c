"""Views of a batch: each forward pass that a task asks for, made once."""

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from vlp_jax.config import nearest
from vlp_jax.fusion.fusion import SharedImage
from vlp_jax.heads.head import Reading
from vlp_jax.layers.tokens import Fused, Tokens, pick_rows
from vlp_jax.model.model import VisionLanguageModel
from vlp_jax.parallel.context import on_batch_axes
from vlp_jax.parallel.ring import ring_axes, ring_size


@dataclass(frozen=True)
class TextFields:
    """The batch fields that hold a text: ids, mask and, where it has two parts, segments."""

    ids: str
    mask: str
    segments: str = ""


CAPTION = TextFields("text_ids", "text_mask", "text_segments")
"""The text that every model reads; tasks name the fields of others."""

OWN: Mapping[str, str] = MappingProxyType({})
"""The picture's own fields, none of them replaced."""


class Views:
    """Lazily computed, remembered forward passes of one model on one batch.

    Make one inside the traced function, so that it lives for a single trace; training, evaluation
    and inference all read a model through it. With a `key` dropout is on. `made` holds passes that
    are there already, by name: {"image": Tokens, CAPTION.ids: Tokens}.

    With `chunks` = k every pass runs as a scan over k micro-batches and recomputes itself in the
    backward pass: activation memory is that of a micro-batch, while losses still see the whole
    batch. That is gradient accumulation which leaves contrastive losses as they are
    (Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup").
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        params: Any,
        batch: Mapping[str, Array],
        *,
        key: Array | None = None,
        chunks: int = 1,
        made: Mapping[str, Any] | None = None,
    ):
        self.model = model
        self.params = params
        self.batch = batch
        self.key = key
        self._chunks = chunks
        self._made: dict[str, Any] = dict(made or {})

    @property
    def size(self) -> int:
        """Number of examples in the batch."""
        return jax.tree.leaves((self.batch, self._made))[0].shape[0]

    def image(self, instead: Mapping[str, str] = OWN) -> Tokens:
        """Image tokens [B, T, D].

        `instead` names other batch fields for those that the vision encoder reads:
        {"image": "turned"}. ValueError for fields that there are not.
        """
        return self.once(f"image{_label(instead)}", encode_image, self._vision_fields(instead))

    def text(self, fields: TextFields = CAPTION) -> Tokens:
        """Text tokens [B, L, D]."""
        if fields.ids not in self._made:
            for name in (fields.ids, fields.mask):
                _check_name("the batch has no field", name, self.batch)
        given = (self.batch.get(name) for name in (fields.ids, fields.mask, fields.segments))
        return self.once(fields.ids, encode_text, *given)

    def fused(self, fields: TextFields = CAPTION, instead: Mapping[str, str] = OWN) -> Fused:
        """Tokens of both streams after fusion of each text with its own image."""
        own = not instead and self.shares_image(self.batch_parts)
        pair = self._shared_image() if own else self.image(instead), self.text(fields)
        return self.once(f"fused {fields.ids}{_label(instead)}", fuse, *pair)

    def fused_pairs(
        self,
        images: Int[Array, "n"],
        texts: Int[Array, "n"],
        fields: tuple[TextFields, ...] = (CAPTION,),
        once: str = "",
    ) -> Fused:
        """Fusion of image i with text j for index pairs (i, j), each [N].

        Texts are those of all `fields`, one after the other: text j < B is that of example j in the
        first. Tasks that mean the same pairs give the same name as `once` and share the pass.
        """
        pick = lambda tokens, index: jax.tree.map(lambda x: jnp.take(x, index, axis=0), tokens)
        known = jax.tree.map(lambda *x: jnp.concatenate(x), *(self.text(f) for f in fields))
        pairs = pick(self.image(), images), pick(known, texts)
        if once:
            return self.once(f"pairs {once}", fuse, *pairs)
        return self.run(fuse, *pairs, name="pairs")

    def shares_image(self, parts: int = 1) -> bool:
        """Says whether all texts of an image read one projection of it, which is for training.

        Pairs are within `parts` equal parts of the batch, which have to be within one device each.
        Micro-batches project anew, because they are there to keep less.
        """
        alone = self._chunks == 1 and self.key is not None
        return alone and self.model.fusion.shares_image and parts % self.batch_parts == 0

    @property
    def batch_parts(self) -> int:
        """Over how many devices the batch is split."""
        return ring_size(ring_axes(self.size))

    def head_of_pairs(
        self,
        name: str,
        images: Int[Array, "n"],
        texts: Int[Array, "n"],
        fields: tuple[TextFields, ...] = (CAPTION,),
        parts: int = 1,
    ) -> Any:
        """What a head gives for the pairs of `fused_pairs`, where `shares_image(parts)`.

        Of each part of the batch there are B / parts pairs in every B, of examples of that part.
        """
        size = self.size // parts
        by_part = lambda x: x.reshape(-1, parts, size).swapaxes(0, 1)
        inside = lambda x: (by_part(x % self.size) % size).reshape(parts, -1)
        field = by_part(texts // self.size).reshape(parts, -1)
        join = lambda *x: jnp.concatenate([y.reshape(parts, size, *y.shape[1:]) for y in x], axis=1)
        known = jax.tree.map(join, *(self.text(f) for f in fields))
        known = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), known)
        pairs = (
            self._shared_image().of_rows(inside(images)),
            pick_rows(known, field * size + inside(texts)),
        )
        made = self.at_once(partial(read_pairs, head=name), *pairs, name="pairs")
        back = lambda x: x.reshape(parts, -1, size, *x.shape[1:]).swapaxes(0, 1)
        return jax.tree.map(lambda x: back(x).reshape(x.shape), made)

    def _shared_image(self) -> SharedImage:
        return self.once("shared image", share_image, self.image())

    def head(
        self, name: str, fields: TextFields = CAPTION, instead: Mapping[str, str] = OWN
    ) -> Any:
        """What a head gives for each text with its own image."""
        passes = self.image(instead), self.text(fields), self.fused(fields, instead)
        label = f"head {name} {fields.ids}{_label(instead)}"
        return self.once(label, partial(read, head=name), Reading(*((one,) for one in passes)))

    def head_of(self, name: str, fused: Fused, label: str) -> Any:
        """What a head gives for fused pairs; `label` names the pass."""
        return self.run(partial(read, head=name), Reading((), (), (fused,)), name=label)

    def once(self, name: str, function: Callable, *inputs: Any) -> Any:
        """Returns `run(function, *inputs)`, computed the first time that `name` is asked for."""
        if name not in self._made:
            self._made[name] = self.run(function, *inputs, name=name)
        return self._made[name]

    def run(self, function: Callable, *inputs: Any, name: str) -> Any:
        """Applies function(model, *inputs, deterministic=…) to batch-leading inputs.

        `name` sets the dropout stream.
        """
        if self._chunks == 1:
            return self.at_once(function, *inputs, name=name)
        key = None if self.key is None else self.draw_key(name)
        return self._run_in_chunks(key, function, inputs)

    def at_once(self, function: Callable, *inputs: Any, name: str) -> Any:
        """Returns what `run` does for rows that are too few to be cut into micro-batches."""
        key = None if self.key is None else self.draw_key(name)
        return self._apply(self.params, key, function, inputs)

    def draw_key(self, name: str) -> Array:
        """Returns the PRNG key of a named random draw of this step."""
        return named_key(self.key, name)

    def _run_in_chunks(self, key: Array | None, function: Callable, inputs: tuple) -> Any:
        def one(item: tuple[Array, tuple]) -> Any:
            index, chunk = item
            chunk_key = None if key is None else jax.random.fold_in(key, index)
            remade = jax.checkpoint(lambda p, chunk: self._apply(p, chunk_key, function, chunk))
            return remade(self.params, chunk)

        chunks = jax.tree.map(partial(_to_chunks, self._chunks), inputs)
        outputs = jax.lax.map(one, (jnp.arange(self._chunks), chunks))
        return jax.tree.map(_from_chunks, outputs)

    def _apply(self, params: Any, key: Array | None, function: Callable, inputs: tuple) -> Any:
        rngs = {} if key is None else {"dropout": key}
        return self.model.apply(
            {"params": params}, *inputs, method=function, rngs=rngs, deterministic=key is None
        )

    def _vision_fields(self, instead: Mapping[str, str]) -> dict[str, Array]:
        vision = self.model.vision
        known = (*vision.reads, *vision.may_read)
        for name, other in instead.items():
            _check_name("the vision encoder reads no field", name, known)
            _check_name("the batch has no field", other, self.batch)
        named = {name: instead.get(name, name) for name in known}
        return {name: self.batch[field] for name, field in named.items() if field in self.batch}


def _label(instead: Mapping[str, str]) -> str:
    return "".join(f" {name}={other}" for name, other in sorted(instead.items()))


def _check_name(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        hint = nearest(name, known)
        raise ValueError(f'{what} "{name}".{hint} Known: {", ".join(sorted(known))}')


def encode_image(model: VisionLanguageModel, batch: dict, *, deterministic: bool) -> Tokens:
    """Encodes the vision fields of a batch."""
    return on_batch_axes(model.encode_image(batch, deterministic=deterministic))


def encode_text(model: VisionLanguageModel, ids, mask, segments, *, deterministic: bool) -> Tokens:
    """Encodes one text of a batch."""
    return on_batch_axes(model.encode_text(ids, mask, segments, deterministic=deterministic))


def fuse(
    model: VisionLanguageModel, image: Tokens | SharedImage, text: Tokens, *, deterministic: bool
) -> Fused:
    """Lets image and text read each other."""
    if not isinstance(image, SharedImage):  # which begins with an axis of layers
        image = on_batch_axes(image)
    return on_batch_axes(model.fuse(image, on_batch_axes(text), deterministic=deterministic))


def share_image(model: VisionLanguageModel, image: Tokens, *, deterministic: bool) -> SharedImage:
    """Projects images for the texts of all passes."""
    return model.share_image(image)


def named_key(key: Array, name: str) -> Array:
    """Returns the PRNG key of a draw of that name."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def read_pairs(
    model: VisionLanguageModel, image: SharedImage, text: Tokens, *, head: str, deterministic: bool
) -> Any:
    """Applies a head to pairs of images and texts."""
    return model.read_pairs(head, image, on_batch_axes(text), deterministic=deterministic)


def read(model: VisionLanguageModel, reading: Reading, *, head: str, deterministic: bool) -> Any:
    """Applies a head to a pass."""
    return model.read(head, reading, deterministic=deterministic)


def _to_chunks(chunks: int, x: Array) -> Array:
    """[B, ...] -> [k, B/k, ...] with stride k, so that a sharded batch axis stays in place."""
    return x.reshape(x.shape[0] // chunks, chunks, *x.shape[1:]).swapaxes(0, 1)


def _from_chunks(x: Array) -> Array:
    x = x.swapaxes(0, 1)
    return x.reshape(-1, *x.shape[2:])
