"""Model: parameters, tokenizer and image processing together, with the verbs of the field."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.config import ExperimentConfig
from vlp_jax.data.assemble import Feed
from vlp_jax.data.text_encoder import TextEncoder
from vlp_jax.data.vocabulary import Vocabulary
from vlp_jax.inference.images import image_batch, listed
from vlp_jax.model import CAPTION, Forward, TextFields, VisionLanguageModel, build_model
from vlp_jax.tasks import build_tasks, contrast, matching
from vlp_jax.tasks.answers import AnswerTask, QuestionTask
from vlp_jax.tasks.questions import QUESTION
from vlp_jax.tasks.written_answers import WrittenAnswerTask

_BATCH = 32  # pairs scored at once


@dataclass(frozen=True)
class Answer:
    """An answer and its probability among all answers the model knows."""

    text: str
    probability: float


@dataclass(frozen=True)
class Retrieved:
    """A candidate's place in the list given, and its score (higher is better)."""

    index: int
    score: float


class Model:
    """A vision-language model ready for use; make one with `vlp_jax.load`.

    Images are paths, bytes, PIL images or uint8 arrays; one or a list. Texts are strings.
    Attributes: `config` (ExperimentConfig), `params`, `tokenizer`, `answers`, `module` (Linen).
    """

    def __init__(self, config: ExperimentConfig, params: Any, vocabulary: Vocabulary):
        self.config = config
        self.params = params
        self._vocabulary = vocabulary
        self.tokenizer = vocabulary.tokenizer
        self.answers = vocabulary.answers
        self.module: VisionLanguageModel = build_model(config.model, config.training.dtype)

    def encode_image(self, images: Any) -> np.ndarray:
        """Returns contrastive unit vectors float32 [N, W] of one image or a list."""
        self._needs(contrast.HEAD, "encode_image")
        return self._in_batches(contrast.image_vector, {"image": self._pixels(images)})

    def encode_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Returns contrastive unit vectors float32 [N, W] of one text or a list."""
        self._needs(contrast.HEAD, "encode_text")
        return self._in_batches(contrast.text_vector, self._captions(texts))

    def match(self, images: Any, texts: str | Sequence[str]) -> np.ndarray:
        """Returns the probability float32 [N] that each text describes its image.

        One image with several texts, or one text with several images, is paired with all.
        """
        self._needs(matching.HEAD, "match")
        batch = _paired("match", "texts", {"image": self._pixels(images)}, self._captions(texts))
        odds = self._in_batches(matching.match_log_odds, batch)
        return np.asarray(jax.nn.sigmoid(odds))

    def answer(self, images: Any, questions: str | Sequence[str], top: int = 1) -> list:
        """Returns the `top` answers, best first, for each image and question.

        A model that writes its answers (ALBEF's decoder) ranks the known ones by how likely it is
        to write them; all but the 128 with the likeliest first word have probability 0.
        One image and one question give a list of `Answer`; lists give a list of such lists.
        """
        task = self._answering
        if not self.answers:
            raise ValueError("this model came without its list of answers: give `load` those")
        asked = self._texts(questions, self._texts_of.question, QUESTION, task.question_length)
        batch = _paired("answer", "questions", {"image": self._pixels(images)}, asked)
        logits = self._in_batches(task.scores_of(self._vocabulary), batch)
        found = [self._best(row, top) for row in np.asarray(jax.nn.softmax(logits))]
        single = isinstance(questions, str) and len(found) == 1
        return found[0] if single else found

    def retrieve(
        self, query: Any, candidates: Sequence[Any], top: int = 5, rerank: int = 16
    ) -> list[Retrieved]:
        """Returns the best candidates for a query, best first.

        A string query searches images, anything else is an image that searches texts. Contrastive
        similarity orders all; if the model has a matching head the `rerank` best are scored again.
        """
        if isinstance(query, str):
            images, texts = listed(candidates), [query]
        else:
            images, texts = [query], listed(candidates)
        scores = (self.encode_image(images) @ self.encode_text(texts).T).ravel()
        order = np.argsort(-scores, kind="stable")
        if matching.HEAD in self.module.heads and rerank:
            best = order[:rerank]
            pick = lambda values: [values[i] for i in best] if len(values) > 1 else values
            odds = self.match(pick(images), pick(texts))
            order = np.concatenate([best[np.argsort(-odds, kind="stable")], order[rerank:]])
            scores = scores - 2.0  # below every re-scored candidate
            scores[best] = odds
        return [Retrieved(int(i), float(scores[i])) for i in order[:top]]

    def apply(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Returns every output of the model on a batch of arrays (see docs/data.md) as a dict."""
        arrays = {name: jnp.asarray(value) for name, value in batch.items()}
        return self.module.apply({"params": self.params}, arrays)

    @cached_property
    def _forward(self) -> Forward:
        return Forward(self.module, self.params)

    @property
    def _texts_of(self) -> TextEncoder:
        return Feed(self.config.data, frozenset(), self._vocabulary, train=False).texts

    @cached_property
    def _answering(self) -> QuestionTask:
        """Returns the task that answers questions, as the run has it or with its defaults."""
        tasks = build_tasks(self.config).values() if self.config.tasks else ()
        known = [task for task in tasks if isinstance(task, QuestionTask)]
        length = min(QuestionTask().question_length, self.module.text.max_length)
        usual = (cls(question_length=length) for cls in (WrittenAnswerTask, AnswerTask))
        for task in (*known, *usual):
            if task.head in self.module.heads:
                return task
        self._needs(AnswerTask().head, "answer")

    def _needs(self, head: str, verb: str) -> None:
        if head not in self.module.heads:
            raise ValueError(
                f'{verb} needs the head "{head}", which this model has not been trained with; it '
                f"has {', '.join(self.module.heads)}"
            )

    def _pixels(self, images: Any) -> np.ndarray:
        if "image" not in self.module.vision.reads:
            raise ValueError(
                "this model reads region features, not pixels: give them with `apply`, as a batch "
                f"that holds {', '.join(self.module.vision.reads)}"
            )
        return image_batch(images, self.config.data.image_size)

    def _captions(self, texts: str | Sequence[str]) -> dict[str, np.ndarray]:
        return self._texts(texts, self._texts_of.caption, CAPTION, self.config.data.text_length)

    def _texts(
        self, texts: Any, clean: Callable[[str], str], fields: TextFields, length: int
    ) -> dict[str, np.ndarray]:
        """Returns the batch fields of texts, cleaned; ValueError for one without words."""
        given = listed(texts)
        cleaned = [clean(text) if isinstance(text, str) else "" for text in given]
        for i, text in enumerate(cleaned):
            if not self.tokenizer.has_words(text):
                raise ValueError(f"text {i} is {given[i]!r}; expected a string with words in it")
        ids, mask = self._texts_of.encode_all(cleaned, length)
        return {fields.ids: ids, fields.mask: mask}

    def _in_batches(self, function: Callable, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Computes a function of views on all rows, a few of them at once, in padded shapes."""
        count = len(next(iter(batch.values())))
        size = min(_BATCH, 1 << (count - 1).bit_length())
        parts = []
        for start in range(0, count, size):
            rows = np.minimum(np.arange(start, start + size), count - 1)
            part = {name: value[rows] for name, value in batch.items()}
            parts.append(np.asarray(self._forward(function, part)))
        return np.concatenate(parts)[:count]

    def _best(self, probabilities: np.ndarray, top: int) -> list[Answer]:
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [Answer(self.answers[i], float(probabilities[i])) for i in order]


def _paired(verb: str, what: str, images: dict, texts: dict) -> dict[str, np.ndarray]:
    """Joins fields of images and texts; one of either is paired with all of the other."""
    counts = [len(next(iter(fields.values()))) for fields in (images, texts)]
    count = max(counts)
    if set(counts) - {1, count}:
        raise ValueError(
            f"{verb} was given {counts[0]} images and {counts[1]} {what}; expected as many of "
            "both, or one of either"
        )
    repeat = lambda x: np.broadcast_to(x, (count, *x.shape[1:]))
    return {name: repeat(value) for name, value in (images | texts).items()}
