"""Texts written from left to right: greedy, by beams, or drawn; for whatever says the next word.

Everything here is a pure function of a `Writer`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from vlp_jax.data.tokenizer import Tokenizer

# (texts int [N, L], position, memory) -> log probabilities [N, V] of the word at that position, and
# the memory after it.
NextWord = Callable[[Int[Array, "n l"], Int[Array, ""], Any], tuple[Float[Array, "n v"], Any]]

_IMPOSSIBLE = -1e9


class SpecialIds(NamedTuple):
    """Ids of the tokens that writing needs; a text ends with `end`, and with `pad` as well."""

    start: int
    end: int
    mask: int
    pad: int = 0

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "SpecialIds":
        """Returns those of a tokenizer."""
        return cls(tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id, tokenizer.pad_id)


@dataclass(frozen=True)
class Writer:
    """What a model says of the next word of N texts; those of a picture are next to each other.

    Attributes:
      predict: words are asked for one position after the other, from 1 on.
      begin: (N, L) -> the memory before the first word, arrays [layers, N, …]; there may be none.
    """

    predict: NextWord
    begin: Callable[[int, int], Any] = lambda texts, length: ()


@dataclass(frozen=True)
class Search:
    """How a text is searched for.

    Attributes:
      max_length, min_length: tokens, both ends included.
      beams: 1 takes the likeliest word each time.
      length_penalty: a text found with beams is scored by its summed log probability over
        (tokens without the end)^length_penalty.
      top_p: where given, each word is drawn from the likeliest ones that together have this
        probability (nucleus sampling: Holtzman et al. 2020), and there are no beams.
      seed: of those draws.
    """

    max_length: int = 20
    min_length: int = 2
    beams: int = 5
    length_penalty: float = 1.0
    top_p: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (2 <= self.min_length <= self.max_length and self.beams >= 1):
            raise ValueError(
                f"max_length = {self.max_length}, min_length = {self.min_length}, beams = "
                f"{self.beams}: expected 2 <= min_length <= max_length (tokens, both ends "
                "included) and 1 beam or more"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p = {self.top_p}: expected a probability above 0, up to 1")


@flax.struct.dataclass
class Written:
    """Texts int [B, L] from [CLS] to [SEP], then padding; and their scores [B]."""

    ids: Int[Array, "b l"]
    scores: Float[Array, "b"]


@flax.struct.dataclass
class Constraints:
    """Words that texts are to hold, as an automaton a picture (`tasks.constraints`).

    moves: int [B, S, V], the state after a word; a text starts in state 0. reached: int [B, S], how
    many of the wanted constraints a state stands for; a text that ends with more goes before.
    """

    moves: Int[Array, "b s v"]
    reached: Int[Array, "b s"]

    @classmethod
    def of(cls, batch: Mapping[str, Array]) -> "Constraints | None":
        """Returns those in a batch's fields, None if there are none."""
        if "constraint_moves" not in batch:
            return None
        return cls(batch["constraint_moves"], batch["constraint_reached"])


def write(
    writer: Writer,
    size: int,
    search: Search,
    special: SpecialIds,
    constraints: Constraints | None = None,
) -> Written:
    """Returns the texts that are found for `size` pictures.

    The score is the mean log probability of the words, the end included; with beams see `Search`.
    With constraints there are `search.beams` beams in every state of their automaton. ValueError
    for drawn words under constraints.
    """
    if constraints is not None and search.top_p is not None:
        raise ValueError(
            f"top_p = {search.top_p}: words under constraints are searched for with beams, not "
            "drawn; leave one of them out"
        )
    if search.min_length > 2:
        predict = _without_early_end(writer.predict, search.min_length, special)
        writer = replace(writer, predict=predict)
    if search.top_p is not None:
        key = jax.random.key(search.seed)
        among = lambda position, words: _drawn(key, position, _likeliest(words, search.top_p))
        return _word_by_word(writer, size, search.max_length, special, among)
    if search.beams == 1 and constraints is None:
        likeliest = lambda position, words: jnp.argmax(words, -1)
        return _word_by_word(writer, size, search.max_length, special, likeliest)
    return _by_beams(writer, size, search, special, constraints)


def dropout_of(key: Array | None, position: Array | int) -> dict[str, Array]:
    """Returns the random streams with which a word is asked for; none without a key."""
    return {} if key is None else {"dropout": jax.random.fold_in(key, position)}


def draw(writer: Writer, size: int, length: int, special: SpecialIds, key: Array) -> Written:
    """Returns texts of up to `length` tokens, each word drawn as likely as the writer says it is.

    A text that is cut off gets its end in place of its last word; the score counts that word. It
    can be differentiated by what the writer reads.
    """
    return _word_by_word(writer, size, length, special, partial(_drawn, key))


def _without_early_end(predict: NextWord, least: int, special: SpecialIds) -> NextWord:
    """Returns the same in which a text of fewer than `least` tokens cannot end."""
    ends = jnp.array([special.end, special.pad])

    def later(texts: Array, position: Array, memory: Any) -> tuple[Array, Any]:
        words, memory = predict(texts, position, memory)
        closed = words.at[:, ends].set(_IMPOSSIBLE)
        return jnp.where(position < least - 1, closed, words), memory

    return later


def _drawn(key: Array, position: Array, words: Float[Array, "n v"]) -> Int[Array, "n"]:
    """Returns words drawn with a key for each text, so that others beside it change nothing."""
    key = jax.random.fold_in(key, position)
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(words)))
    return jax.vmap(jax.random.categorical)(keys, words)


def _likeliest(words: Float[Array, "n v"], top_p: float) -> Float[Array, "n v"]:
    """Returns log probabilities, impossible but for the least set that has `top_p` together."""
    ordered = -jnp.sort(-words)
    before = jnp.cumsum(jnp.exp(ordered), -1) - jnp.exp(ordered)
    least = jnp.min(jnp.where(before < top_p, ordered, jnp.inf), -1, keepdims=True)
    return jnp.where(words >= least, words, _IMPOSSIBLE)


def _word_by_word(
    writer: Writer, size: int, length: int, special: SpecialIds, choose: Callable
) -> Written:
    ids, zeros = _started(size, length, special), jnp.zeros(size)

    def step(position: Array, carry: tuple) -> tuple:
        ids, memory, open_, total, count = carry
        words, memory = writer.predict(ids, position, memory)
        word = jnp.where(open_, choose(position, words), special.pad).astype(ids.dtype)
        chosen = jnp.take_along_axis(words, word[:, None], axis=1)[:, 0]
        total = total + jnp.where(open_, chosen, 0.0)
        ids = ids.at[:, position].set(word)
        return ids, memory, open_ & ~_ends(word, special), total, count + open_

    start = ids, writer.begin(size, length), jnp.ones(size, bool), zeros, zeros
    ids, _, open_, total, count = jax.lax.fori_loop(1, length, step, start)
    ids = ids.at[:, -1].set(jnp.where(open_, special.end, ids[:, -1]))
    return Written(ids, total / jnp.maximum(count, 1))


@flax.struct.dataclass
class _Beams:
    """Open texts [B, K, L] with their summed log probabilities, and the best ended one."""

    ids: Array
    memory: Any
    totals: Array
    best_ids: Array
    best_scores: Array
    done: Array


def _by_beams(
    writer: Writer, size: int, search: Search, special: SpecialIds, constraints: Constraints | None
) -> Written:
    """Returns the best texts found with beams; the end counts for the score.

    A picture is done when no open text can become better. Source: `_generate_beam_search` of
    microsoft/Oscar. Under constraints each state has beams of its own (Anderson et al. 2017).
    """
    beams, length = search.beams, search.max_length
    rows = size if constraints is None else constraints.reached.size
    start = _started(rows * beams, length, special).reshape(rows, beams, length)
    first = jnp.where(jnp.arange(beams) == 0, 0.0, _IMPOSSIBLE)
    totals = jnp.broadcast_to(first, (rows, beams))
    if constraints is not None:
        totals = jnp.where((jnp.arange(rows) % (rows // size) == 0)[:, None], totals, -jnp.inf)
    state = _Beams(
        ids=start,
        memory=writer.begin(rows * beams, length),
        totals=totals,
        best_ids=start[:, 0],
        best_scores=jnp.full(rows, -jnp.inf),
        done=jnp.zeros(rows, bool),
    )
    choose = _best_words if constraints is None else partial(_best_by_state, constraints, special)
    step = partial(_beam_step, writer, size, special, search, choose)
    state = jax.lax.fori_loop(1, length, step, state)
    found = Written(state.best_ids, state.best_scores)
    return found if constraints is None else _of_best_state(found, constraints)


def _best_words(
    totals: Float[Array, "b k v"], last: Bool[Array, ""], count: int
) -> tuple[Array, Array, Array]:
    """Returns the best sums [B, C] of beams that go on by a word, the beams and the words."""
    flat = totals.reshape(totals.shape[0], -1)
    found, chosen = jax.lax.top_k(flat, min(count, flat.shape[-1]))
    return found, *jnp.divmod(chosen, totals.shape[-1])


def _best_by_state(
    constraints: Constraints,
    special: SpecialIds,
    totals: Float[Array, "r k v"],
    last: Bool[Array, ""],
    count: int,
) -> tuple[Array, Array, Array]:
    """Returns the same for each state [B·S, C], of all beams of the picture that come to it.

    An end changes no state, nor does the last word, in whose place the end is put.
    """
    size, states, words = constraints.moves.shape
    by_state = totals.reshape(size, states, -1, words)
    stays = last | _ends(jnp.arange(words), special)
    to = jnp.where(stays, jnp.arange(states)[:, None], constraints.moves)

    def coming_to(state: Array) -> tuple[Array, Array, Array]:
        coming = jnp.where((to == state)[:, :, None], by_state, -jnp.inf)
        return _best_words(coming.reshape(size, -1, words), last, count)

    made = jax.lax.map(coming_to, jnp.arange(states))
    return tuple(x.swapaxes(0, 1).reshape(size * states, -1) for x in made)


def _of_best_state(found: Written, constraints: Constraints) -> Written:
    """Returns each picture's best text among those that hold the most of what is wanted."""
    size, states = constraints.reached.shape
    scores = found.scores.reshape(size, states)
    reached = jnp.where(scores > _IMPOSSIBLE / 1000, constraints.reached, -1)
    most = reached == reached.max(-1, keepdims=True)
    best = jnp.argmax(jnp.where(most, scores, -jnp.inf), -1)
    rows = jnp.arange(size) * states + best
    return Written(found.ids[rows], found.scores[rows])


def _beam_step(
    writer: Writer,
    size: int,
    special: SpecialIds,
    search: Search,
    choose: Callable,
    position: Array,
    state: _Beams,
) -> _Beams:
    rows, beams, length = state.ids.shape
    words, memory = writer.predict(state.ids.reshape(-1, length), position, state.memory)
    totals = state.totals[..., None] + words.reshape(rows, beams, -1)
    # Every beam can spend two candidates on an ending ([SEP], padding) and still go on.
    totals, beam, word = choose(totals, position == length - 1, 3 * beams)
    own = lambda x: x.reshape(size, -1, *x.shape[2:])  # all beams of a picture
    ids = jnp.take_along_axis(own(state.ids), own(beam)[..., None], axis=1)
    ids = ids.reshape(rows, -1, length)

    penalty = search.length_penalty
    unbeatable = totals[:, 0] / float(length - 1) ** penalty
    # Texts in one state of a picture may become those of another.
    done = state.done | ((state.best_scores >= unbeatable) & (rows == size))
    ends = _ends(word, special) | (position == length - 1)
    goes_on = ~ends
    reached = (jnp.cumsum(goes_on, -1) - goes_on < beams) & ~done[:, None]
    state = _keep_best(state, ids, totals / position**penalty, ends & reached, position, special)

    order = jnp.argsort(~goes_on, axis=-1, stable=True)[:, :beams]
    pick = lambda x: jnp.take_along_axis(x, order, axis=1)
    longer = ids.at[:, :, position].set(word.astype(ids.dtype))
    return state.replace(
        ids=jnp.take_along_axis(longer, order[..., None], axis=1),
        memory=_of_beams(memory, own(pick(beam))),
        totals=jnp.where(pick(goes_on), pick(totals), _IMPOSSIBLE),
        done=done,
    )


def _of_beams(memory: Any, beam: Int[Array, "b k"]) -> Any:
    """Returns the memory of texts that go on from the given beams of their picture."""
    size, beams = beam.shape
    rows = (jnp.arange(size)[:, None] * beams + beam).reshape(-1)
    return jax.tree.map(lambda x: jnp.take(x, rows, axis=1), memory)


def _keep_best(
    state: _Beams, ids: Array, scores: Array, ended: Array, position: Array, special: SpecialIds
) -> _Beams:
    """Puts the best text that ends at this step in place of the best before, if it is better."""
    scores = jnp.where(ended, scores, -jnp.inf)
    best = jnp.argmax(scores, -1)[:, None]
    score = jnp.take_along_axis(scores, best, axis=1)[:, 0]
    text = jnp.take_along_axis(ids, best[..., None], axis=1)[:, 0]
    text = text.at[:, position].set(special.end)
    better = score > state.best_scores
    return state.replace(
        best_ids=jnp.where(better[:, None], text, state.best_ids),
        best_scores=jnp.where(better, score, state.best_scores),
    )


def _started(size: int, length: int, special: SpecialIds) -> Int[Array, "n l"]:
    """Returns texts that hold the start token and padding."""
    return jnp.full((size, length), special.pad, jnp.int32).at[:, 0].set(special.start)


def _ends(word: Array, special: SpecialIds) -> Bool[Array, "..."]:
    return (word == special.end) | (word == special.pad)
