"""Constraints on captions: words that a text is to hold, as automata for `tasks.search`.

A constraint is a list of phrases, of which one has to occur ("ball", "balls"). The automaton's
state is the set of constraints that are held and how far a phrase has been read, as in constrained
beam search (Anderson et al. 2017, arXiv:1612.00576).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vlp_jax.data.box_constraints import MOST
from vlp_jax.data.foreign import shortened
from vlp_jax.data.json_text import parse_json
from vlp_jax.data.paths import existing_file
from vlp_jax.data.tokenizer import Tokenizer

Phrases = Sequence[Sequence[str]]
_Place = tuple[int, tuple[int, ...]]  # the constraints that are held, the pieces read of a phrase


def read_constraints(path: str) -> dict[str, Phrases]:
    """Returns the constraints of pictures by their ids, from a JSON file.

    {"17": [["dog"], ["ball", "balls"]]} wants a dog, and a ball or balls, in the caption of 17.
    FileNotFoundError, or ValueError for other content.
    """
    file = existing_file(path, "file of constraints")
    found = parse_json(file.read_bytes(), f'"{path}"')
    if not isinstance(found, Mapping):
        raise ValueError(f'"{path}" holds {type(found).__name__}, expected constraints by picture')
    for name, phrases in found.items():
        check_constraints(phrases, f'"{path}", picture "{shortened(str(name), 60)}"')
    return dict(found)


def check_constraints(phrases: Any, place: str) -> None:
    """Raises ValueError unless these are up to three lists of phrases."""
    lists = isinstance(phrases, list | tuple) and all(isinstance(p, list | tuple) for p in phrases)
    texts = lists and all(p and all(isinstance(x, str) and x.strip() for x in p) for p in phrases)
    if not texts or len(phrases) > MOST:
        raise ValueError(
            f"{place}: constraints are {phrases!r:.200}, expected up to {MOST} lists of words or "
            'phrases, as [["dog"], ["ball", "balls"]]'
        )


def constraint_fields(
    wanted: Sequence[Phrases], tokenizer: Tokenizer, needed: int
) -> dict[str, np.ndarray]:
    """Returns `constraint_moves` [B, S, V] and `constraint_reached` [B, S], see `Constraints`.

    wanted: the constraints of each picture, perhaps none. needed: how many have to be held.
    """
    made = [_automaton(phrases, tokenizer) for phrases in wanted]
    states = max(len(held) for _, held in made)
    moves = np.zeros((len(made), states, tokenizer.size), np.int32)
    reached = np.zeros((len(made), states), np.int32)
    for row, (own, held) in enumerate(made):
        moves[row, : len(own)] = own
        reached[row, : len(held)] = np.minimum(held, needed)
    return {"constraint_moves": moves, "constraint_reached": reached}


def _automaton(phrases: Phrases, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Returns the state after each word [S, V], and how many constraints each state holds [S]."""
    spelled = [{_pieces(text, tokenizer) for text in options} for options in phrases]
    places: dict[_Place, int] = {(0, ()): 0}
    pieces = sorted({piece for options in spelled for phrase in options for piece in phrase})
    moves: list[np.ndarray] = []
    for held, read in _in_turn(places):
        row = np.full(tokenizer.size, _number(places, (held, ())), np.int32)
        for piece in pieces:
            row[piece] = _number(places, _after(held, (*read, piece), spelled))
        moves.append(row)
    return np.stack(moves), np.array([held.bit_count() for held, _ in places])


def _pieces(text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    pieces = tuple(tokenizer.piece_ids(text))
    if not pieces or tokenizer.unk_id in pieces:
        raise ValueError(
            f'constraint "{shortened(text, 60)}": the vocabulary cannot spell it, so no caption '
            "can hold it; give another form of the word instead"
        )
    return pieces


def _in_turn(places: Mapping[_Place, int]) -> Iterator[_Place]:
    """Yields all places, those too that are added meanwhile."""
    number = 0
    while number < len(places):
        yield list(places)[number]
        number += 1


def _number(places: dict[_Place, int], place: _Place) -> int:
    return places.setdefault(place, len(places))


def _after(held: int, read: tuple[int, ...], spelled: Sequence[set[tuple[int, ...]]]) -> _Place:
    """Returns where a text is that has just read these pieces, a phrase's start and one more."""
    ends = lambda phrase: phrase == read[len(read) - len(phrase) :]
    for number, options in enumerate(spelled):
        if any(ends(phrase) for phrase in options):
            held |= 1 << number
    open_ = [p for n, options in enumerate(spelled) if not held >> n & 1 for p in options]
    # The longest end of what was read with which a phrase that is still wanted begins.
    tails = (read[start:] for start in range(len(read)))
    going = (t for t in tails if any(len(t) < len(p) and p[: len(t)] == t for p in open_))
    return held, next(going, ())
