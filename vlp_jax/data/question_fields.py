"""The question fields of an example: one question about its image, or several."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlp_jax.data.answer_fields import AnswerFields
from vlp_jax.data.entry import take
from vlp_jax.data.text import TEXT_STYLES
from vlp_jax.data.tokenizer import Tokenizer

Example = dict[str, np.ndarray]


@dataclass(frozen=True)
class QuestionFields:
    """Makes `question_ids`, `question_mask` and `answer_scores` of an example.

    length: tokens of a question, cut or padded. answers: the closed answer vocabulary.
    count: questions of an image; above 1 the fields have an axis [K] of them in front, filled with
    the record's own question and some drawn from its "more_questions", over again if there are few.
    answer_texts: spells the answers as well, or None.
    """

    tokenizer: Tokenizer
    length: int
    answers: tuple[str, ...]
    add_sep: bool = False
    style: str = "albef"
    max_words: int = 30
    count: int = 1
    answer_texts: AnswerFields | None = None

    def __post_init__(self) -> None:
        if not self.answers:
            raise ValueError("the source provides questions, but the answer vocabulary is empty")
        if self.count < 1:
            raise ValueError(f"questions is {self.count}, expected at least 1")
        if self.count > 1 and self.answer_texts:
            raise ValueError(
                f"questions = {self.count} and answers as texts do not go together: set "
                "questions = 1 or answer_length = 0"
            )

    def __call__(self, record: Mapping[str, Any], rng: np.random.Generator) -> Example:
        """Returns the fields; ValueError says what ails the record."""
        if self.count == 1:
            return self._one(record)
        more = record.get("more_questions", ())
        chosen = [record, *(more[i] for i in rng.permutation(len(more))[: self.count - 1])]
        made = [self._one(entry) for entry in chosen]
        rows = [made[i % len(made)] for i in range(self.count)]
        return {name: np.stack([row[name] for row in rows]) for name in made[0]}

    def _one(self, entry: Mapping[str, Any]) -> Example:
        _, clean = TEXT_STYLES[self.style]
        question = clean(take(entry, "question"), self.max_words)
        if not question:
            raise ValueError(f"the question has no words in it: {entry['question']!r}")
        ids, mask = self.tokenizer.encode(question, self.length, self.add_sep)
        answers = take(entry, "answers")
        fields = {
            "question_ids": ids,
            "question_mask": mask,
            "answer_scores": self._scores(answers),
        }
        return fields | (self.answer_texts(answers) if self.answer_texts else {})

    def _scores(self, answers: Mapping[str, float]) -> np.ndarray:
        scores = np.zeros(len(self.answers), np.float32)
        for answer, score in answers.items():
            if not 0 <= score <= 1:
                raise ValueError(f'answer "{answer}" has score {score}, expected 0 to 1')
            if answer in self._index:  # rare answers are outside the vocabulary
                scores[self._index[answer]] = score
        return scores

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {answer: index for index, answer in enumerate(self.answers)}
