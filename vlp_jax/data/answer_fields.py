"""The answers of a question as texts that a decoder learns to write (ALBEF section 5, VQA)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from vlp_jax.data.tokenizer import Tokenizer


@dataclass(frozen=True)
class AnswerFields:
    """Makes `answer_ids`, `answer_mask` and `answer_weights` of an example.

    length: tokens of an answer, `[CLS] words [SEP]`; longer ones are left out, for a part of an
    answer is another answer. count: answers of a question, those of the highest score.
    """

    tokenizer: Tokenizer
    length: int
    count: int

    def __post_init__(self) -> None:
        if self.length < 3:
            raise ValueError(
                f"answer_length is {self.length}, expected at least 3: [CLS] word [SEP]"
            )
        if self.count < 1:
            raise ValueError(f"answers_per_question is {self.count}, expected at least 1")

    def __call__(self, answers: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Returns the fields of answer → score; the scores are the weights, as they are.

        ValueError if every answer is too long.
        """
        shape = self.count, self.length
        ids = np.full(shape, self.tokenizer.pad_id, np.int32)
        mask, weights = np.zeros(shape, np.bool_), np.zeros(self.count, np.float32)
        chosen = self._chosen(answers)
        for row, (answer, pieces) in enumerate(chosen):
            ids[row, : len(pieces)], mask[row, : len(pieces)] = pieces, True
            weights[row] = answers[answer]
        return {"answer_ids": ids, "answer_mask": mask, "answer_weights": weights}

    def _chosen(self, answers: Mapping[str, float]) -> list[tuple[str, list[int]]]:
        spelt = [(answer, answer_pieces(self.tokenizer, answer)) for answer in answers]
        short = [(answer, pieces) for answer, pieces in spelt if len(pieces) <= self.length]
        if answers and not short:
            least = min(len(pieces) for _, pieces in spelt)
            raise ValueError(
                f"no answer of {list(answers)!r} fits answer_length = {self.length}; the shortest "
                f"has {least} tokens"
            )
        return sorted(short, key=lambda item: -answers[item[0]])[: self.count]


def answer_pieces(tokenizer: Tokenizer, answer: str) -> list[int]:
    """Returns the ids of `[CLS] words [SEP]`; the [SEP] ends an answer, also for ALBEF."""
    return [tokenizer.cls_id, *tokenizer.piece_ids(answer), tokenizer.sep_id]


def encode_answers(tokenizer: Tokenizer, answers: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids int32 and mask bool [A, L] of a list of answers, L being that of the longest."""
    pieces = [answer_pieces(tokenizer, answer) for answer in answers]
    if not pieces:
        raise ValueError("the list of answers is empty")
    lengths = np.array([len(row) for row in pieces])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, tokenizer.pad_id, np.int32)
    ids[mask] = np.concatenate(pieces)
    return ids, mask
