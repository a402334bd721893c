"""Views of a batch: each forward pass that objectives ask for, made once per step."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from vlp_jax.layers.tokens import Fused, Tokens
from vlp_jax.model import VisionLanguageModel

# Which batch fields hold the ids and the mask of each text.
TEXTS = {
    "clean": ("text_ids", "text_mask"),
    "foil": ("foil_ids", "foil_mask"),
    "masked": ("mlm_ids", "text_mask"),
    "question": ("question_ids", "question_mask"),
}


class Views:
    """Lazily computed, remembered forward passes of one model on one batch.

    Make one inside the differentiated function, so that it lives for a single trace. With
    `chunks` = k every pass runs as a scan over k micro-batches and recomputes itself in the
    backward pass: activation memory is that of a micro-batch, while losses still see the whole
    batch. That is gradient accumulation which leaves contrastive losses as they are
    (Gao et al. 2021, "Scaling deep contrastive learning batch size under memory limited setup").
    """

    def __init__(
        self,
        model: VisionLanguageModel,
        params: Any,
        batch: dict[str, Array],
        *,
        key: Array | None = None,
        chunks: int = 1,
    ):
        self.model = model
        self.params = params
        self.batch = batch
        self.key = key
        self._chunks = chunks
        self._made: dict[Any, Any] = {}

    @property
    def size(self) -> int:
        """Number of examples in the batch."""
        return next(iter(self.batch.values())).shape[0]

    def image(self) -> Tokens:
        """Image tokens [B, T, D]."""
        fields = {name: self.batch[name] for name in self._vision_fields()}
        return self._once("image", VisionLanguageModel.encode_image, fields)

    def text(self, kind: str = "clean") -> Tokens:
        """Text tokens [B, L, D] of the "clean" or "masked" caption or of the "question"."""
        ids, mask = (self.batch[name] for name in TEXTS[kind])
        segments = None if kind in ("question", "foil") else self.batch.get("text_segments")
        return self._once(("text", kind), VisionLanguageModel.encode_text, ids, mask, segments)

    def fused(self, text: str = "clean") -> Fused:
        """Tokens of both streams after fusion of each text with its own image."""
        image = self.image()
        return self._once(("fused", text), VisionLanguageModel.fuse, self.text(text), image)

    def fused_pairs(self, texts: Int[Array, "n"], images: Int[Array, "n"], once: str = "") -> Fused:
        """Fusion of text i with image j for index pairs (i, j), each [N].

        Text i < B is the clean caption of example i, text B + i its foil if the batch holds foils.
        Objectives that mean the same pairs give the same name as `once` and share the pass.
        """
        pick = lambda tokens, index: jax.tree.map(lambda x: jnp.take(x, index, axis=0), tokens)
        known = self.text()
        if "foil_ids" in self.batch:
            foils = self.text("foil")
            known = jax.tree.map(lambda *x: jnp.concatenate(x), known, foils)
        pairs = pick(known, texts), pick(self.image(), images)
        if once:
            return self._once(("pairs", once), VisionLanguageModel.fuse, *pairs)
        return self.run(VisionLanguageModel.fuse, *pairs, name="pairs")

    def vectors(self) -> tuple[Float[Array, "b w"], Float[Array, "b w"]]:
        """Contrastive unit vectors of the images and of the clean texts."""
        image = self._once("image_vector", VisionLanguageModel.image_vector, self.image())
        return image, self._once("text_vector", VisionLanguageModel.text_vector, self.text())

    def temperature(self) -> Array:
        """The learned temperature of the contrastive similarities."""
        return self._apply(self.params, method=VisionLanguageModel.temperature)

    def bias(self) -> Array:
        """The learned bias of the contrastive logits, for the sigmoid loss."""
        return self._apply(self.params, method=VisionLanguageModel.similarity_bias)

    def similarities(self) -> Float[Array, "b b"]:
        """In-batch image-text similarities over temperature: rows are images."""
        image, text = self.vectors()
        return image @ text.T / self.temperature()

    def draw_key(self, name: str) -> Array:
        """Returns the PRNG key of a named random draw of this step."""
        return jax.random.fold_in(self.key, _stable_hash(name))

    def run(self, method: Callable, *inputs: Any, name: str) -> Any:
        """Applies a function of (model, *inputs) to batch-leading inputs, in micro-batches.

        `name` sets the dropout stream; a function that takes `deterministic` trains with dropout.
        """
        call = partial(self._apply, method=method)
        key = None if self.key is None else self.draw_key(name)
        if self._chunks == 1:
            return call(self.params, *inputs, key=key)
        return self._run_in_chunks(call, key, inputs)

    def _run_in_chunks(self, call: Callable, key: Array | None, inputs: tuple) -> Any:
        def one(item: tuple[Array, tuple]) -> Any:
            index, chunk = item
            chunk_key = None if key is None else jax.random.fold_in(key, index)
            remade = jax.checkpoint(lambda params, chunk: call(params, *chunk, key=chunk_key))
            return remade(self.params, chunk)

        chunks = jax.tree.map(partial(_to_chunks, self._chunks), inputs)
        outputs = jax.lax.map(one, (jnp.arange(self._chunks), chunks))
        return jax.tree.map(_from_chunks, outputs)

    def _apply(self, params: Any, *inputs: Any, method: Callable, key: Array | None = None) -> Any:
        trains = key is not None and "deterministic" in inspect.signature(method).parameters
        options = {"deterministic": False} if trains else {}
        rngs = {} if key is None else {"dropout": key}
        return self.model.apply({"params": params}, *inputs, method=method, rngs=rngs, **options)

    def _once(self, name: Any, method: Callable, *inputs: Any) -> Any:
        if name not in self._made:
            self._made[name] = self.run(method, *inputs, name=str(name))
        return self._made[name]

    def _vision_fields(self) -> tuple[str, ...]:
        optional = ("region_hidden", "region_types", "region_alignment")
        return self.model.vision.reads + tuple(n for n in optional if n in self.batch)


def _to_chunks(chunks: int, x: Array) -> Array:
    """[B, ...] -> [k, B/k, ...] with stride k, so that a sharded batch axis stays in place."""
    return x.reshape(x.shape[0] // chunks, chunks, *x.shape[1:]).swapaxes(0, 1)


def _from_chunks(x: Array) -> Array:
    x = x.swapaxes(0, 1)
    return x.reshape(-1, *x.shape[2:])


def _stable_hash(name: str) -> int:
    """A 31-bit hash that does not change between processes, as Python's does."""
    value = 0
    for byte in name.encode():
        value = (value * 131 + byte) % (2**31 - 1)
    return value
