"""Model: parameters, tokenizer and image processing together, with the verbs of the field."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlp_jax.config import ExperimentConfig
from vlp_jax.data.answer_fields import encode_answers
from vlp_jax.data.assemble import Vocabulary
from vlp_jax.data.text import TEXT_STYLES
from vlp_jax.inference.images import image_batch, listed
from vlp_jax.layers.tokens import Tokens
from vlp_jax.model import VisionLanguageModel, build_model
from vlp_jax.model.bound import Bound

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
        self.tokenizer = vocabulary.tokenizer
        self.answers = vocabulary.answers
        self.module: VisionLanguageModel = build_model(config.model, config.training.dtype)

    def encode_image(self, images: Any) -> np.ndarray:
        """Returns contrastive unit vectors float32 [N, W] of one image or a list."""
        self._needs("itc", "encode_image")
        vectors = [self._bound.image_vectors(self._images([i])) for i in self._pixels(images)]
        return np.concatenate([np.asarray(v) for v in vectors])

    def encode_text(self, texts: str | Sequence[str]) -> np.ndarray:
        """Returns contrastive unit vectors float32 [N, W] of one text or a list."""
        self._needs("itc", "encode_text")
        return np.asarray(self._bound.text_vectors(self._texts(listed(texts))))

    def match(self, images: Any, texts: str | Sequence[str]) -> np.ndarray:
        """Returns the probability float32 [N] that each text describes its image.

        One image with several texts, or one text with several images, is paired with all.
        """
        self._needs("itm", "match")
        pixels, texts = self._pixels(images), listed(texts)
        count = max(len(pixels), len(texts))
        if {len(pixels), len(texts)} - {1, count}:
            raise ValueError(
                f"match was given {len(pixels)} images and {len(texts)} texts; expected as many of "
                "both, or one of either"
            )
        encoded = _repeated(self._images(pixels), count), _repeated(self._texts(texts), count)
        return np.asarray(jax.nn.sigmoid(self._match(*encoded)))

    def answer(self, images: Any, questions: str | Sequence[str], top: int = 1) -> list:
        """Returns the `top` answers, best first, for each image and question.

        A model that writes its answers (ALBEF's decoder) ranks the known ones by how likely it is
        to write them; all but the 128 with the likeliest first word have probability 0.
        One image and one question give a list of `Answer`; lists give a list of such lists.
        """
        writes = "answer" in self.module.heads
        if not writes:
            self._needs("vqa", "answer")
        if not self.answers:
            raise ValueError("this model came without its list of answers: give `load` those")
        pixels, asked = self._pixels(images), listed(questions)
        count = max(len(pixels), len(asked))
        if {len(pixels), len(asked)} - {1, count}:
            raise ValueError(f"answer was given {len(pixels)} images and {len(asked)} questions")
        _, clean = TEXT_STYLES[self.config.data.text_style]
        encoded = (
            _repeated(self._encode(asked, clean, "question_length"), count),
            _repeated(self._images(pixels), count),
        )
        if writes:
            logits = self._bound.answer_scores(*encoded, *self._spelt_answers)
        else:
            logits = self._bound.answer_logits(*encoded)
        found = [self._best(row, top) for row in np.asarray(jax.nn.softmax(logits))]
        single = isinstance(questions, str) and count == 1
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
        if "itm" in self.module.heads and rerank:
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
    def _bound(self) -> Bound:
        return Bound(self.module, self.params)

    @cached_property
    def _spelt_answers(self) -> tuple[np.ndarray, np.ndarray]:
        """Ids and mask of the known answers, for the decoder."""
        return encode_answers(self.tokenizer, self.answers)

    def _needs(self, head: str, verb: str) -> None:
        if head not in self.module.heads:
            raise ValueError(
                f'{verb} needs the head "{head}", which this model has not been trained with; it '
                f"has {', '.join(self.module.heads)}"
            )

    def _pixels(self, images: Any) -> list[np.ndarray]:
        if "image" not in self.module.vision.reads:
            raise ValueError(
                "this model reads region features, not pixels: give them with `apply`, as a batch "
                f"that holds {', '.join(self.module.vision.reads)}"
            )
        return list(image_batch(images, self.config.data.image_size))

    def _images(self, pixels: list[np.ndarray]) -> Tokens:
        return self._bound.images({"image": jnp.asarray(np.stack(pixels))})

    def _texts(self, texts: list[str]) -> Tokens:
        clean, _ = TEXT_STYLES[self.config.data.text_style]
        return self._encode(texts, clean, "text_length")

    def _encode(self, texts: list[str], clean, length: str) -> Tokens:
        data = self.config.data
        cleaned = [clean(t, data.max_words) if isinstance(t, str) else "" for t in texts]
        for i, text in enumerate(texts):
            if not cleaned[i].strip():
                raise ValueError(f"text {i} is {text!r}; expected a string with words in it")
        size = getattr(data, length)
        pairs = [self.tokenizer.encode(text, size, data.add_sep) for text in cleaned]
        ids, mask = (jnp.asarray(np.stack(x)) for x in zip(*pairs))
        return self._bound.texts(ids, mask)

    def _match(self, images: Tokens, texts: Tokens) -> jax.Array:
        count = images.mask.shape[0]
        part = lambda tokens, start: jax.tree.map(lambda x: x[start : start + _BATCH], tokens)
        odds = [self._bound.match(part(texts, s), part(images, s)) for s in range(0, count, _BATCH)]
        return jnp.concatenate(odds)

    def _best(self, probabilities: np.ndarray, top: int) -> list[Answer]:
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [Answer(self.answers[i], float(probabilities[i])) for i in order]


def _repeated(tokens: Tokens, count: int) -> Tokens:
    """Repeats a batch of one to `count` rows."""
    if tokens.mask.shape[0] == count:
        return tokens
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape[1:])), tokens)
