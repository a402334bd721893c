"""A model with its parameters: jitted functions for evaluation and inference."""

from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.layers.tokens import Tokens
from vlp_jax.model.answer_ranking import ranked_answer_scores
from vlp_jax.model.heat_maps import heat_maps
from vlp_jax.model.model import VisionLanguageModel as Model


class Bound:
    """Forward passes of `model` with fixed `params` and no dropout, each compiled once a shape."""

    def __init__(self, model: Model, params: Any):
        self.model = model
        self.params = params

    def images(self, batch: dict[str, Array]) -> Tokens:
        """Encodes the image or region fields of a batch."""
        return self._encode_image(self.params, {k: batch[k] for k in self.model.vision.reads})

    def texts(self, ids: Array, mask: Array, segments: Array | None = None) -> Tokens:
        """Encodes ids [B, L] under a boolean mask [B, L]; segments [B, L] default to zero."""
        return self._encode_text(self.params, ids, mask, segments)

    def vectors(self, batch: dict[str, Array]) -> tuple[Float[Array, "b w"], Float[Array, "b w"]]:
        """Returns contrastive unit vectors of images and of texts."""
        image = self._image_vector(self.params, self.images(batch))
        text = self._text_vector(self.params, self.texts(batch["text_ids"], batch["text_mask"]))
        return image, text

    def image_vectors(self, images: Tokens) -> Float[Array, "b w"]:
        """Returns contrastive unit vectors of encoded images."""
        return self._image_vector(self.params, images)

    def text_vectors(self, texts: Tokens) -> Float[Array, "b w"]:
        """Returns contrastive unit vectors of encoded texts."""
        return self._text_vector(self.params, texts)

    def temperature(self) -> float:
        """Returns the temperature of the contrastive similarities."""
        return float(self.model.apply({"params": self.params}, method=Model.temperature))

    def match(self, texts: Tokens, images: Tokens) -> Float[Array, "b"]:
        """Returns the log odds that each text belongs to its image."""
        return self._match(self.params, texts, images)

    def answer_logits(self, questions: Tokens, images: Tokens) -> Float[Array, "b a"]:
        """Returns the logits of all answers to each question about its image."""
        return self._answer(self.params, questions, images)

    def answer_scores(
        self, questions: Tokens, images: Tokens, ids: Array, mask: Array
    ) -> Float[Array, "b a"]:
        """Returns the decoder's scores of the answers `ids`, `mask` [A, L] to each question.

        See `answer_ranking.ranked_answer_scores`; their softmax is the answers' probability.
        """
        return self._ranked(self.params, questions, images, ids, mask)

    def word_logits(self, texts: Tokens, images: Tokens) -> Float[Array, "b l v"]:
        """Returns word logits at every text position, given the image."""
        return self._words(self.params, texts, images)

    def heat_maps(self, texts: Tokens, images: Tokens) -> Float[Array, "b l t"]:
        """Returns how much each text position reads each image token to find that they match.

        See `vlp_jax.model.heat_maps`.
        """
        return self._heat(self.params, texts, images)

    @cached_property
    def _encode_image(self):
        return self._jitted(Model.encode_image)

    @cached_property
    def _encode_text(self):
        return self._jitted(Model.encode_text)

    @cached_property
    def _image_vector(self):
        return self._jitted(Model.image_vector)

    @cached_property
    def _text_vector(self):
        return self._jitted(Model.text_vector)

    @cached_property
    def _match(self):
        return self._jitted(match_log_odds)

    @cached_property
    def _answer(self):
        return self._jitted(lambda model, text, image: model.answer_logits(model.fuse(text, image)))

    @cached_property
    def _ranked(self):
        return jax.jit(partial(ranked_answer_scores, self.model))

    @cached_property
    def _words(self):
        return self._jitted(
            lambda model, text, image: model.word_logits(model.fuse(text, image).text.states)
        )

    @cached_property
    def _heat(self):
        heat = lambda params, *tokens: heat_maps(self.model, params, match_log_odds, *tokens)
        return jax.jit(heat)

    def _jitted(self, method: Any) -> Any:
        return jax.jit(lambda params, *x: self.model.apply({"params": params}, *x, method=method))


def match_log_odds(model: Model, text: Tokens, image: Tokens) -> Float[Array, "b"]:
    """Returns the log odds of "match" against all other classes of the matching head together."""
    logits = model.match_logits(model.fuse(text, image))
    index = model.head("itm").match_index
    return logits[:, index] - jax.nn.logsumexp(jnp.delete(logits, index, axis=1), axis=1)


def to_device(batch: dict) -> dict[str, Array]:
    """Returns a host batch as device arrays."""
    return {name: jnp.asarray(value) for name, value in batch.items()}
