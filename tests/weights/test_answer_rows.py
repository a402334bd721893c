"""Rows of an answer head are found by the text of the answers."""

import json

import numpy as np
import pytest

from tests.inference.published import sizes_of, write_weights
from vlp_jax.config import ExperimentConfig, build, to_plain
from vlp_jax.data.answer_lists import read_answers
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.model import build_model
from vlp_jax.model.model import abstract_params
from vlp_jax.parallel import unbox
from vlp_jax.weights.answer_rows import answer_rows, by_answer
from vlp_jax.weights.initial import read_initial_weights
from vlp_jax.weights.key_table import linear
from vlp_jax.weights.state_dict import read_state_dict
from vlp_jax.weights.zoo import ZOO

KNOWN = ("cat", "man", "3", "gray", "hot dog", "the end")


@pytest.mark.parametrize(
    ("answer", "row"),
    [
        ("cat", 0), ("Cat.", 0), ("a cat", 0), ("the a man", 1), ("an  cat .", 0), ("three", 2),
        ("grey", 3), ("the hot dog", 4), ("the end", -1), ("cats", -1), ("", -1), ("a", -1),
    ],
)  # fmt: skip
def test_answers_are_rewritten_as_lxmert_does(answer, row):
    assert answer_rows(KNOWN, [answer]).tolist() == [row]


def test_unknown_answers_are_zero_rows():
    entries = linear("answer_head.logit_fc.3", "heads_vqa/output")
    rows = answer_rows(KNOWN, ["gray", "dog", "cat"])
    kernel, bias = by_answer(entries, rows, len(KNOWN))
    weight = np.arange(12.0, dtype=np.float32).reshape(6, 2) + 1  # as torch has it
    (made,) = kernel.to_ours(weight)
    np.testing.assert_array_equal(made, np.stack([weight[3], 0 * weight[0], weight[0]], 1))
    np.testing.assert_array_equal(bias.to_ours(weight[:, 0])[0], [7, 0, 1])
    assert kernel.to_published(np.zeros((2, 3), np.float32)).shape == weight.shape
    with pytest.raises(ValueError, match="fill no head of answers"):
        by_answer(linear("itm_head", "heads_itm/dense"), rows, 6)


def test_the_published_table_is_a_list_of_answers(tmp_path):
    (tmp_path / "all_ans.json").write_text(
        json.dumps([{"ans": a, "dsets": ["vqa"]} for a in KNOWN])
    )
    assert read_answers(tmp_path / "all_ans.json") == KNOWN


@pytest.mark.slow
def test_lxmerts_head_starts_from_the_answers_of_pre_training(tmp_path):
    """All of the published file, with the rows of three answers of which one is not known."""
    theirs = [*KNOWN, *map(str, range(100, 9600 - len(KNOWN)))]
    (tmp_path / "all_ans.json").write_text(json.dumps(theirs))
    file = write_weights(tmp_path, "lxmert")
    model = ZOO["lxmert_vqa"].from_published(sizes_of("lxmert") | dict(num_qa_labels=3))
    entry = dict(path=str(file), kind="lxmert", answers=str(tmp_path / "all_ans.json"))
    config = build(ExperimentConfig, dict(model=to_plain(model), init_from=[entry]), "config")
    words = Vocabulary(Tokenizer.bert_uncased(), ("a man", "zebra", "cat"))
    built = build_model(config.model)
    params = unbox(abstract_params(built))
    given = read_initial_weights(config, built, params, words, None)
    assert "2 of 3 answers are known" in given.news[0] and "none" in given.news[1]
    made = dict(given.fillings[0].arrays())
    bias = read_state_dict(file)["answer_head.logit_fc.3.bias"]
    np.testing.assert_array_equal(made["heads_vqa/output/bias"], [bias[1], 0, bias[0]])
    with pytest.raises(ValueError, match="the data of this run have no answers"):
        read_initial_weights(config, built, params, Vocabulary(words.tokenizer), None)
