"""Captions from a single-stream model: greedy and beam search over a [MASK] at the next position.

OSCAR (Li et al. 2020, section 4) generates a caption by placing [MASK] after the words so far,
predicting the word there, and putting that word in its place. Everything here is a pure function.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.data.input_rules import TextRules
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.layers.masks import captioning_mask
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import Views, VisionLanguageModel
from vlp_jax.tasks.masked_text import HEAD

# (captions int [N, L], position) -> log probabilities [N, V] of the word at that position.
NextWord = Callable[[Int[Array, "n l"], Int[Array, ""]], Float[Array, "n v"]]

_IMPOSSIBLE = -1e9


class SpecialIds(NamedTuple):
    """Ids of the tokens that decoding needs; a caption ends with `end`, and with `pad` as well."""

    start: int
    end: int
    mask: int
    pad: int = 0


@flax.struct.dataclass
class Captions:
    """Captions int [B, L] from [CLS] to [SEP], then padding; and their scores [B].

    The score is the sum of log probabilities divided by length^penalty.
    """

    ids: Int[Array, "b l"]
    scores: Float[Array, "b"]


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


def written_captions(
    views: Views,
    *,
    slots: int,
    length: int,
    special: SpecialIds,
    beams: int,
    length_penalty: float,
) -> Captions:
    """Returns the captions of a batch that holds pictures and the fields of `caption_fields`.

    `beams` = 1 is greedy. ValueError for captions longer than the `slots` before the tags.
    """
    if not 2 <= length <= slots:
        raise ValueError(f"max_length = {length}: expected 2 to {slots} tokens, both ends included")
    tags = views.batch["tag_ids"], views.batch["tag_mask"]
    predict = next_word(views.model, views.params, views.image(), *tags, slots, special)
    if beams == 1:
        return greedy_captions(predict, views.size, length, special)
    return beam_captions(predict, views.size, length, special, beams, length_penalty)


def next_word(
    model: VisionLanguageModel,
    params: Any,
    image: Tokens,
    tags: Int[Array, "b g"],
    tag_mask: Bool[Array, "b g"],
    slots: int,
    special: SpecialIds,
) -> NextWord:
    """Returns the function that predicts one word of the captions of B images.

    Args:
      model, params: a single-stream model with the head "mlm".
      image: `model.encode_image` of the images.
      tags: words of the object tags, of type 1, which follow the caption; [B, 0] for none.
      tag_mask: which of them are real.
      slots: positions before the tags, as in training (40 as published); captions may be shorter.
      special: ids of the special tokens.

    The result takes N = B·k captions, the k of an image next to each other.
    """
    types = jnp.concatenate([jnp.zeros((tags.shape[0], slots), jnp.int32), jnp.ones_like(tags)], 1)

    def word_at(model, position, regions, ids, mask, segments) -> Array:
        text = model.encode_text(ids, mask, segments)
        joint_mask = captioning_mask(text.concatenate(regions).mask, slots)
        states = model.fuse(regions, text, joint_mask=joint_mask).text.states
        state = jax.lax.dynamic_slice_in_dim(states, position, 1, axis=1)
        logits = model.head(HEAD)(state, model.text.word_table())
        return jax.nn.log_softmax(logits[:, 0])

    def predict(captions: Array, position: Array) -> Array:
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
        return model.apply({"params": params}, *inputs, method=word_at)

    return predict


def greedy_captions(predict: NextWord, size: int, length: int, special: SpecialIds) -> Captions:
    """Returns for `size` images the captions of at most `length` tokens by the likeliest words.

    The score is the mean log probability of the words chosen, the end included.
    """
    ids = _started(size, length, special)
    zeros = jnp.zeros(size)

    def step(position: Array, carry: tuple) -> tuple:
        ids, open_, total, count = carry
        log_probabilities = predict(ids, position)
        word = jnp.where(open_, jnp.argmax(log_probabilities, -1), special.pad)
        total = total + jnp.where(open_, log_probabilities.max(-1), 0.0)
        ids = ids.at[:, position].set(word.astype(ids.dtype))
        return ids, open_ & ~_ends(word, special), total, count + open_

    ids, open_, total, count = jax.lax.fori_loop(
        1, length, step, (ids, jnp.ones(size, bool), zeros, zeros)
    )
    ids = ids.at[:, -1].set(jnp.where(open_, special.end, ids[:, -1]))
    return Captions(ids, total / jnp.maximum(count, 1))


@flax.struct.dataclass
class _Search:
    """Open captions [B, K, L] with their summed log probabilities, and the best ended one."""

    ids: Array
    totals: Array
    best_ids: Array
    best_scores: Array
    done: Array


def beam_captions(
    predict: NextWord,
    size: int,
    length: int,
    special: SpecialIds,
    beams: int = 5,
    length_penalty: float = 1.0,
) -> Captions:
    """Returns for `size` images the best captions of at most `length` tokens found with `beams`.

    A caption that ends is scored by its summed log probability, the end included, over
    (tokens without the end)^length_penalty. An image is done when no open caption can become
    better. Source: `_generate_beam_search` of microsoft/Oscar.
    """
    if length < 2 or beams < 1:
        raise ValueError(f"length = {length}, beams = {beams}: at least 2 and 1 are needed")
    start = _started(size * beams, length, special).reshape(size, beams, length)
    search = _Search(
        ids=start,
        totals=jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, _IMPOSSIBLE), (size, beams)),
        best_ids=start[:, 0],
        best_scores=jnp.full(size, -jnp.inf),
        done=jnp.zeros(size, bool),
    )
    step = lambda position, s: _beam_step(predict, s, position, special, length_penalty)
    search = jax.lax.fori_loop(1, length, step, search)
    return Captions(search.best_ids, search.best_scores)


def _beam_step(
    predict: NextWord, search: _Search, position: Array, special: SpecialIds, penalty: float
) -> _Search:
    size, beams, length = search.ids.shape
    words = predict(search.ids.reshape(-1, length), position).reshape(size, beams, -1)
    totals = (search.totals[..., None] + words).reshape(size, -1)
    # Every beam can spend two candidates on an ending ([SEP], padding) and still go on.
    totals, chosen = jax.lax.top_k(totals, min(3 * beams, totals.shape[-1]))
    beam, word = jnp.divmod(chosen, words.shape[-1])
    ids = jnp.take_along_axis(search.ids, beam[..., None], axis=1)

    unbeatable = totals[:, 0] / float(length - 1) ** penalty
    done = search.done | (search.best_scores >= unbeatable)
    last = position == length - 1
    ends = _ends(word, special) | last
    goes_on = ~ends
    reached = (jnp.cumsum(goes_on, -1) - goes_on < beams) & ~done[:, None]
    search = _keep_best(search, ids, totals / position**penalty, ends & reached, position, special)

    order = jnp.argsort(~goes_on, axis=-1, stable=True)[:, :beams]
    pick = lambda x: jnp.take_along_axis(x, order, axis=1)
    longer = ids.at[:, :, position].set(word.astype(ids.dtype))
    return search.replace(
        ids=jnp.take_along_axis(longer, order[..., None], axis=1),
        totals=jnp.where(pick(goes_on), pick(totals), _IMPOSSIBLE),
        done=done,
    )


def _keep_best(
    search: _Search, ids: Array, scores: Array, ended: Array, position: Array, special: SpecialIds
) -> _Search:
    """Puts the best caption that ends at this step in place of the best before, if it is better."""
    scores = jnp.where(ended, scores, -jnp.inf)
    best = jnp.argmax(scores, -1)[:, None]
    score = jnp.take_along_axis(scores, best, axis=1)[:, 0]
    caption = jnp.take_along_axis(ids, best[..., None], axis=1)[:, 0]
    caption = caption.at[:, position].set(special.end)
    better = score > search.best_scores
    return search.replace(
        best_ids=jnp.where(better[:, None], caption, search.best_ids),
        best_scores=jnp.where(better, score, search.best_scores),
    )


def _started(size: int, length: int, special: SpecialIds) -> Int[Array, "n l"]:
    """Returns captions that hold the start token and padding."""
    return jnp.full((size, length), special.pad, jnp.int32).at[:, 0].set(special.start)


def _ends(word: Array, special: SpecialIds) -> Bool[Array, "..."]:
    return (word == special.end) | (word == special.pad)
