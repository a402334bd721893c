"""How texts and regions are shown to the published models: literal cases of the styles."""

import numpy as np
import pytest

from vlp_jax.data.input_rules import InputRules, TextRules
from vlp_jax.data.regions import Regions, Rules
from vlp_jax.data.regions.rows import choose_rows
from vlp_jax.data.tokenizer import SPECIAL_TOKENS, Tokenizer

BERT = Tokenizer.bert_uncased()


def words(style: str, question: str, length: int = 20) -> list[str]:
    encoder = TextRules(style, max_words=50).encoder(BERT)
    ids, mask = encoder.encode(encoder.usable_question(question), length)
    return [BERT._backend.id_to_token(int(i)) for i in ids[mask]]


def test_visualbert_asks_with_a_mask():
    assert words("visualbert", "Who's  there, a dog?") == [
        "[CLS]", "who", "'", "s", "there", "a", "dog", "?", "[MASK]", "[SEP]",
    ]  # fmt: skip


def test_a_long_question_loses_the_mask_as_published():
    assert words("visualbert", "dog " * 9, 6) == ["[CLS]", *["dog"] * 4, "[SEP]"]


def test_a_question_mark_alone_is_no_question():
    with pytest.raises(ValueError, match="no question with words in it"):
        words("visualbert", "?")


def test_uniter_cuts_at_blanks_first():
    cased = Tokenizer.from_vocab([*SPECIAL_TOKENS, "Dog", "dog", "'", "s"], lowercase=False)
    encoder = TextRules("uniter").encoder(cased)
    ids, mask = encoder.encode(encoder.usable_question("Dog's\x1cdog"), 9)
    assert ids[mask].tolist() == [2, 5, 7, 8, 6, 3]


def test_a_head_goes_before_its_verb():
    rules = InputRules(texts={"answer": TextRules(length=3), "gqa": TextRules(length=4)})
    lengths = [rules.text_of(*names).length for names in (("answer", "gqa"), ("answer",), ("x",))]
    assert lengths == [4, 3, None]


def test_a_task_is_read_by_its_name():
    rules = InputRules().with_task("point", "games", TextRules(length=9, task=17))
    rules = rules.with_task("point", "seven", TextRules(length=4, task=3))
    assert list(rules.tasks["point"]) == ["seven", "games"]
    assert rules.text_of_task("point", "games") == TextRules(length=9, task=17)
    for name in ("sevn", 17, ["games"]):
        with pytest.raises(ValueError, match="task is .* Known: seven, games"):
            rules.text_of_task("point", name)
    with pytest.raises(ValueError, match="task is 'games', and this model has no tasks to name"):
        rules.text_of_task("ground", "games")


def test_uniter_takes_the_first_rows_of_the_file():
    confidence = np.array([0.1, 0.9, 0.05, 0.8], np.float32)
    boxes = np.tile(np.array([[0, 0, 5, 5]], np.float32), (4, 1))
    regions = Regions(np.eye(4, dtype=np.float32), boxes, 9, 9, confidence=confidence)
    for order, kept in (("file", [0, 1]), ("surest", [1, 3])):
        chosen = choose_rows(regions, Rules(min_confidence=0.2, order=order))
        assert chosen.features.argmax(1).tolist() == kept
    with pytest.raises(ValueError, match='order is "best", expected "surest" or "file"'):
        Rules(order="best")
