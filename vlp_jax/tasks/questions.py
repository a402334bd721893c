"""Questions about an image as batch fields: one, or several, with the answers' scores or words."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vlp_jax.data.batch import Field
from vlp_jax.data.caption_fields import own_tags
from vlp_jax.data.entry import take
from vlp_jax.data.foreign import shortened
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.tokenizer import Tokenizer
from vlp_jax.data.transforms import Example, Transform
from vlp_jax.data.vqa_targets import capped_targets, given_answers
from vlp_jax.model import TextFields

QUESTION = TextFields("question_ids", "question_mask", "question_segments")


@dataclass(frozen=True)
class QuestionFields(Transform):
    """Makes `question_ids`, `question_mask`, `answer_scores` and, with tags, `question_segments`.

    length: tokens of a question, cut or padded. answers: the closed answer vocabulary.
    targets: what ten annotators' answers are worth: "capped" is min(1, 0.3·n) for n of them,
    "share" is n/10. Scores that the record gives are taken as they are.
    count: questions of an image; above 1 the fields have an axis [K] of them in front, filled with
    the record's own question and some drawn from its "more_questions", over again if there are few.
    tags: makes the labels of the regions the second part of the text (OSCAR).
    train: whether a record without answers is an error; else its scores are 0.
    """

    texts: TextEncoder
    length: int
    answers: tuple[str, ...]
    targets: Literal["capped", "share"] = "capped"
    count: int = 1
    tags: bool = False
    train: bool = True

    makes = {
        "question_ids": Field(("int32",), ("B", "K?", "Q"), "question tokens"),
        "question_mask": Field(("bool",), ("B", "K?", "Q"), "True = real token"),
        "question_segments": Field(("int32",), ("B", "K?", "Q"), "0 = question, 1 = tags"),
        "answer_scores": Field(("float32",), ("B", "K?", "A"), "score 0..1 of every known answer"),
    }

    def __post_init__(self) -> None:
        if not self.answers:
            raise ValueError("the source provides questions, but the answer vocabulary is empty")

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        record = example.record
        if self.count == 1:
            return self._one(record, example)
        more = record.get("more_questions", ())
        chosen = [record, *(more[i] for i in rng.permutation(len(more))[: self.count - 1])]
        made = [self._one(entry, example) for entry in chosen]
        rows = [made[i % len(made)] for i in range(self.count)]
        return {name: np.stack([row[name] for row in rows]) for name in made[0]}

    def _one(self, entry: Mapping[str, Any], example: Example) -> dict[str, np.ndarray]:
        question = self.texts.usable_question(take(entry, "question"))
        if self.tags:
            text = self.texts.encode_pair(question, own_tags(example), self.length)
        else:
            text = self.texts.encode(question, self.length)
        made = dict(zip((QUESTION.ids, QUESTION.mask, QUESTION.segments), text))
        return made | {"answer_scores": self._scores(self._targets(entry))}

    def _targets(self, entry: Mapping[str, Any]) -> Mapping[str, float]:
        if not self.train and entry.get("answers") is None:
            return {}
        answers, annotators = take(entry, "answers"), entry.get("annotators", 0)
        if annotators and self.targets == "capped":
            return capped_targets(given_answers(answers, annotators))
        return answers

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


@dataclass(frozen=True)
class AnswerWords(Transform):
    """Makes `answer_ids`, `answer_mask` and `answer_weights`: the answers as texts to be written.

    length: tokens of an answer, `[CLS] words [SEP]`; longer ones are left out, for a part of an
    answer is another answer, and so are those without words. count: answers of a question, those
    of the highest score, which are the weights as they are.
    """

    tokenizer: Tokenizer
    length: int
    count: int

    makes = {
        "answer_ids": Field(("int32",), ("B", "N", "S"), "tokens of a question's answers"),
        "answer_mask": Field(("bool",), ("B", "N", "S"), "True = real token"),
        "answer_weights": Field(("float32",), ("B", "N"), "what each counts; 0 = filling"),
    }

    def __call__(self, example: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """ValueError if every answer is too long or without words."""
        answers = take(example.record, "answers")
        shape = self.count, self.length
        ids = np.full(shape, self.tokenizer.pad_id, np.int32)
        mask, weights = np.zeros(shape, np.bool_), np.zeros(self.count, np.float32)
        for row, (answer, pieces) in enumerate(self._chosen(answers)):
            ids[row, : len(pieces)], mask[row, : len(pieces)] = pieces, True
            weights[row] = answers[answer]
        return {"answer_ids": ids, "answer_mask": mask, "answer_weights": weights}

    def _chosen(self, answers: Mapping[str, float]) -> list[tuple[str, list[int]]]:
        seen = [answer for answer in answers if self.tokenizer.has_words(answer)]
        if answers and not seen:
            raise ValueError(f"no answer with words in it: {shortened(ascii(list(answers)))}")
        spelt = [(answer, answer_pieces(self.tokenizer, answer)) for answer in seen]
        short = [(answer, pieces) for answer, pieces in spelt if len(pieces) <= self.length]
        if answers and not short:
            least = min(len(pieces) for _, pieces in spelt)
            raise ValueError(
                f"no answer of {shortened(str(seen))} fits answer_length = {self.length}; the "
                f"shortest has {least} tokens"
            )
        return sorted(short, key=lambda item: -answers[item[0]])[: self.count]


def answer_pieces(tokenizer: Tokenizer, answer: str) -> list[int]:
    """Returns the ids of `[CLS] words [SEP]`; the [SEP] ends an answer, also for ALBEF."""
    return [tokenizer.cls_id, *tokenizer.piece_ids(answer), tokenizer.sep_id]


def padded_answers(pieces: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids int32 and mask bool [A, L] of a list of answers, L being that of the longest.

    What stands beyond an answer's end means nothing.
    """
    if not pieces:
        raise ValueError("the list of answers is empty")
    lengths = np.array([len(row) for row in pieces])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int32)
    ids[mask] = np.concatenate(pieces)
    return ids, mask
