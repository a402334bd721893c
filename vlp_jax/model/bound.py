"""A model with its parameters: jitted functions for evaluation and inference."""

import re
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vlp_jax.layers.tokens import Tokens
from vlp_jax.model.answer_ranking import ranked_answer_scores
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

        Gradients of the match log odds times attention, negative parts cut, averaged over heads, at
        the middle layer in which text reads the image (ALBEF, section 6.3 and appendix; Grad-CAM,
        Selvaraju et al. 2017).
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
        return jax.jit(partial(_attention_heat, self.model))

    def _jitted(self, method: Any) -> Any:
        return jax.jit(lambda params, *x: self.model.apply({"params": params}, *x, method=method))


def match_log_odds(model: Model, text: Tokens, image: Tokens) -> Float[Array, "b"]:
    """Returns the log odds of "match" against all other classes of the matching head together."""
    logits = model.match_logits(model.fuse(text, image))
    index = model.head("itm").match_index
    return logits[:, index] - jax.nn.logsumexp(jnp.delete(logits, index, axis=1), axis=1)


def _attention_heat(model: Model, params: Any, text: Tokens, image: Tokens) -> Array:
    variables = {"params": params}
    length = text.mask.shape[1]
    if length == image.mask.shape[1]:
        # Attention arrays are told apart by their shapes.
        text = jax.tree.map(lambda x: jnp.pad(x, [(0, 0), (0, 1)] + [(0, 0)] * (x.ndim - 2)), text)
    _, made = model.apply(
        variables, text, image, method=match_log_odds, mutable=["perturbations", "intermediates"]
    )

    def score(perturbations: Any) -> Array:
        every = variables | {"perturbations": perturbations}
        return model.apply(every, text, image, method=match_log_odds).sum()

    gradients = jax.grad(score)(made["perturbations"])
    shape = text.mask.shape[1], image.mask.shape[1]
    probabilities = _text_to_image(made["intermediates"], *shape)
    middle = (len(probabilities) - 1) // 2
    gradient = _text_to_image(gradients, *shape)[middle]
    return (probabilities[middle] * jax.nn.relu(gradient)).mean(axis=1)[:, :length]


def _text_to_image(tree: Any, texts: int, images: int) -> list[Array]:
    """Returns the attention arrays [B, H, L, T] of text positions over image tokens, by layer."""
    leaves = [(jax.tree_util.keystr(p), x) for p, x in jax.tree_util.tree_leaves_with_path(tree)]
    found = []
    for path, x in sorted(leaves, key=lambda leaf: _numbers_as_such(leaf[0])):
        if "probabilities" not in path:
            continue
        if x.shape[-2:] == (texts, images):
            found.append(x)
        elif x.shape[-2:] == (texts + images,) * 2:
            found.append(x[..., :texts, texts:])
    if not found:
        raise ValueError("no layer of this model's fusion lets text positions read image tokens")
    return found


def _numbers_as_such(path: str) -> list[tuple[int, str]]:
    """Returns a sort key that puts layer_2 before layer_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def to_device(batch: dict) -> dict[str, Array]:
    """Returns a host batch as device arrays."""
    return {name: jnp.asarray(value) for name, value in batch.items()}
