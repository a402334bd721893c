"""Constraints: their files, their automata, and evaluations and verbs that follow them."""

import json

import numpy as np
import pytest

from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.tasks.constraints import constraint_fields, read_constraints

TOKENIZER = Tokenizer.fit(["a hot dog and two balls"])


def states(text, fields, row=0):
    """How many constraints are reached after each piece of a text."""
    state, reached = 0, []
    for piece in TOKENIZER.piece_ids(text):
        state = fields["constraint_moves"][row, state, piece]
        reached.append(int(fields["constraint_reached"][row, state]))
    return reached


def test_an_automaton_counts_what_has_been_read():
    wanted = [["dog", "two"], ["hot dog"]], [["balls"]], []
    fields = constraint_fields(wanted, TOKENIZER, 2)
    assert states("a hot hot dog and two", fields) == [0, 0, 0, 2, 2, 2]
    assert states("two hot and dog", fields) == [1, 1, 1, 1]
    assert states("a balls", fields, 1) == [0, 1] and states("hot dog", fields, 2) == [0, 0]
    # Nothing, "hot", and the same with the first held, both held, the second alone.
    assert fields["constraint_moves"].shape == (3, 5, TOKENIZER.size)
    assert states("hot dog", constraint_fields(wanted, TOKENIZER, 1)) == [0, 1]


@pytest.mark.parametrize(
    "content", [[["dog"]], {"1": ["dog"]}, {"1": [[]]}, {"1": [[" "]]}, {"1": [["a"]] * 4}]
)
def test_files_that_hold_something_else_are_refused(content, tmp_path):
    file = tmp_path / "constraints.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="expected"):
        read_constraints(str(file))


def test_a_file_and_words_that_cannot_be_spelt(tmp_path):
    file = tmp_path / "constraints.json"
    file.write_text(json.dumps({"17": [["dog"], ["ball", "balls"]]}))
    assert read_constraints(str(file)) == {"17": [["dog"], ["ball", "balls"]]}
    with pytest.raises(ValueError, match='constraint "☃": the vocabulary cannot spell it'):
        constraint_fields([[["☃"]]], TOKENIZER, 1)
    assert np.unique(constraint_fields([[]], TOKENIZER, 1)["constraint_moves"]).tolist() == [0]
