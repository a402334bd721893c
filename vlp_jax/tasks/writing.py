"""Captions from a single-stream model, which fills in a [MASK] at the next position.

OSCAR (Li et al. 2020, section 4) generates a caption by placing [MASK] after the words so far,
predicting the word there, and putting that word in its place. Everything here is a pure function.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from vlp_jax.data.input_rules import TextRules
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.layers.masks import captioning_mask
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.masked_text import HEAD
from vlp_jax.tasks.search import (
    Constraints,
    Search,
    SpecialIds,
    Writer,
    Written,
    dropout_of,
    write,
)


def caption_fields(
    tags: Sequence[str], tokenizer: Tokenizer, rules: TextRules, slots: int
) -> dict[str, np.ndarray]:
    """Returns `tag_fields` that fill what `slots` positions leave of the `length` in `rules`."""
    return tag_fields(tags, tokenizer, max(1, (rules.length or slots + 1) - slots))


def tag_fields(tags: Sequence[str], tokenizer: Tokenizer, room: int) -> dict[str, np.ndarray]:
    """Returns `tag_ids` and `tag_mask` [B, room]: the words of tags and their [SEP]."""
    ids = np.full((len(tags), room), tokenizer.pad_id, np.int32)
    mask = np.zeros(ids.shape, bool)
    for row, text in enumerate(tags):
        pieces = tokenizer.piece_ids(text)[: room - 1]
        if pieces:
            pieces = [*pieces, tokenizer.sep_id]
        ids[row, : len(pieces)], mask[row, : len(pieces)] = pieces, True
    return {"tag_ids": ids, "tag_mask": mask}


def written_captions(views: Views, *, slots: int, search: Search, special: SpecialIds) -> Written:
    """Returns the captions of a batch that holds pictures and the fields of `caption_fields`.

    ValueError for captions longer than the `slots` before the tags.
    """
    if search.max_length > slots:
        raise ValueError(
            f"max_length = {search.max_length}: expected 2 to {slots} tokens, both ends included"
        )
    writer, constraints = caption_writer(views, slots, special), Constraints.of(views.batch)
    return write(writer, views.size, search, special, constraints)


def caption_writer(
    views: Views, slots: int, special: SpecialIds, key: Array | None = None
) -> Writer:
    """Returns the `mask_writer` of a batch that holds pictures and the fields of `tag_fields`."""
    tags = views.batch["tag_ids"], views.batch["tag_mask"]
    return mask_writer(views.model, views.params, views.image(), *tags, slots, special, key)


def mask_writer(
    model: VisionLanguageModel,
    params: Any,
    image: Tokens,
    tags: Int[Array, "b g"],
    tag_mask: Bool[Array, "b g"],
    slots: int,
    special: SpecialIds,
    key: Array | None = None,
) -> Writer:
    """Returns what predicts the next word of the captions of B images; it remembers nothing.

    Args:
      model, params: a single-stream model with the head "mlm".
      image: `model.encode_image` of the images.
      tags: words of the object tags, of type 1, which follow the caption; [B, 0] for none.
      tag_mask: which of them are real.
      slots: positions before the tags, as in training (40 as published); captions may be shorter.
      special: ids of the special tokens.
      key: of dropout, anew at every word; without one there is none.

    The result takes N = B·k captions, the k of an image next to each other.
    """
    types = jnp.concatenate([jnp.zeros((tags.shape[0], slots), jnp.int32), jnp.ones_like(tags)], 1)

    def word_at(model, position, regions, ids, mask, segments, *, deterministic) -> Array:
        text = model.encode_text(ids, mask, segments, deterministic=deterministic)
        joint_mask = captioning_mask(text.concatenate(regions).mask, slots)
        fused = model.fuse(regions, text, joint_mask=joint_mask, deterministic=deterministic)
        states = fused.text.states
        state = jax.lax.dynamic_slice_in_dim(states, position, 1, axis=1)
        logits = model.head(HEAD)(state, model.text.word_table())
        return jax.nn.log_softmax(logits[:, 0])

    def predict(captions: Array, position: Array, memory: Any) -> tuple[Array, Any]:
        count, length = captions.shape
        of_image = lambda x: jnp.repeat(x, count // tags.shape[0], axis=0)
        ids = jnp.full((count, slots), special.pad).at[:, :length].set(captions)
        words = jnp.broadcast_to(jnp.arange(slots) <= position, ids.shape)
        inputs = (
            position,
            jax.tree.map(of_image, image),
            jnp.concatenate([ids.at[:, position].set(special.mask), of_image(tags)], 1),
            jnp.concatenate([words, of_image(tag_mask)], 1),
            of_image(types),
        )
        options = dict(method=word_at, rngs=dropout_of(key, position), deterministic=key is None)
        return model.apply({"params": params}, *inputs, **options), memory

    return Writer(predict)
